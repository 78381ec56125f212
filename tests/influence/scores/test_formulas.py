"""Each score's formula: golden values from theory, and the invariants that tie the scores to each other."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from raysample.core.errors import ScoreError
from raysample.core.numerics.moments import RunningMoments
from raysample.influence.scores import SCORES, from_logits
from raysample.influence.scores.features.knn_label_disagreement import knn_label_disagreement
from raysample.influence.scores.features.moderate import moderate
from raysample.influence.scores.features.prototype import prototype
from raysample.influence.scores.gradients.grand_last import grand_last
from raysample.influence.scores.gradients.influence import influence
from raysample.influence.scores.gradients.tracin_target import tracin_target
from raysample.influence.scores.gradients.vog import Vog, vog
from raysample.influence.scores.predictions.aum import aum
from raysample.influence.scores.predictions.dyn_unc import dyn_unc
from raysample.influence.scores.predictions.el2n import el2n
from raysample.influence.scores.predictions.entropy import entropy
from raysample.influence.scores.predictions.forgetting import Forgetting
from raysample.influence.scores.predictions.loss import loss
from raysample.influence.scores.predictions.margin import margin
from raysample.influence.scores.predictions.pvi import pvi
from raysample.influence.scores.predictions.variability import variability
from raysample.influence.visits.artifacts import Artifacts
from raysample.testing.artifacts import folded, run, trace
from tests.helpers import oracles, oracles_scores
from tests.helpers.every_score import TARGET, made


def fold(name: str, seen: list[Artifacts], **options: Any) -> Tensor:
    return folded(made(name, **options), seen)


def logits_of(probabilities: list[list[float]]) -> list[Artifacts]:
    """Return the visits to one example of class 0 whose predicted distributions are these."""
    mask = torch.ones(1, 1, dtype=torch.bool)
    label = torch.zeros(1, dtype=torch.int64)
    return [Artifacts(label, mask, torch.tensor([p], dtype=torch.float64).log()) for p in probabilities]


def forgetting_of(history: Tensor) -> Tensor:
    """Return the falls from 1 to 0 along the stored history [K, B], and K where there is no 1, [B]."""
    falls = (history[:-1] - history[1:]).clamp(min=0).sum(0)
    return falls.where(history.amax(0) > 0, torch.tensor(float(len(history)), dtype=history.dtype))


def tdds_of(log_p: Tensor, window: int) -> Tensor:
    """Return the weighted sum over all windows of the stored log-probabilities [K, B, C], [B]."""
    changes = (log_p[1:].exp() * (log_p[1:] - log_p[:-1])).abs().sum(2)
    lengths = [(d - d.mean(0)).norm(dim=0) for d in changes.unfold(0, window - 1, 1).movedim(2, 1)]
    weights = [0.9 * 0.1 ** (len(lengths) - 1 - w) for w in range(len(lengths))]
    return torch.stack([weight * r for weight, r in zip(weights, lengths, strict=True)]).sum(0)


def test_folds_equal_the_formulas_over_the_stored_trace() -> None:
    every = [made(name) for name in SCORES]
    seen = trace(7, scores=every)
    first, last = seen[0], seen[-1]
    labels, mask, logits = first.labels, first.mask, torch.stack([s.logits for s in seen])
    p = torch.stack([s.logits.softmax(1)[torch.arange(7), labels] for s in seen])
    right = torch.stack([(s.logits.argmax(1) == labels).double() for s in seen])
    grads = torch.stack([s.embedding_grads["logit"] for s in seen])
    norms = torch.stack([s.grad_norms for s in seen if s.grad_norms is not None])
    rates = torch.tensor([at.learning_rate for at in run(7)], dtype=torch.float64)

    def held(name: str, what: str) -> list[Tensor]:
        return [s.reference[made(name).references[0].key][what] for s in seen]

    def dots(name: str) -> Tensor:
        return torch.stack([s.grad_dots[made(name).references[0].key] for s in seen])

    h = [s.features for s in seen if s.features is not None]
    expected = {
        "vog": torch.stack([g[:, m].var(0, correction=0).mean() for g, m in zip(grads.unbind(1), mask, strict=True)]),
        "grand": norms.mean(0),
        "grand_last": torch.stack([grand_last(z, labels, f) for z, f in zip(logits, h, strict=True)]).mean(0),
        "tracin_self": (rates[:, None] * norms.square()).sum(0),
        "tracin_target": (rates[:, None, None] * dots("tracin_target")).sum(0).mean(1),
        "influence": dots("influence").mean((0, 2)),
        "el2n": torch.stack([el2n(z, labels) for z in logits]).mean(0),
        "loss": torch.stack([loss(z, labels) for z in logits]).mean(0),
        "entropy": torch.stack([entropy(z) for z in logits]).mean(0),
        "margin": torch.stack([margin(z, labels) for z in logits]).mean(0),
        "confidence": p.mean(0),
        "variability": p.std(0, correction=0),
        "correctness": right.sum(0),
        "forgetting": forgetting_of(right),
        "aum": torch.stack([aum(z, labels) for z in logits]).mean(0),
        "pvi": torch.stack([pvi(z, labels, f) for z, f in zip(logits, held("pvi", "log_p"), strict=True)]).mean(0),
        "dyn_unc": p.unfold(0, 5, 1).std(2).mean(0),
        "tdds": tdds_of(logits.log_softmax(2), 5),
        "dual": (p.unfold(0, 5, 1).std(2) * (1 - p.unfold(0, 5, 1).mean(2))).mean(0),
        "prototype": torch.stack([prototype(f, c) for f, c in zip(h, held("prototype", "centres"), strict=True)]).mean(
            0
        ),
        "moderate": torch.stack(
            [moderate(f, labels, m) for f, m in zip(h, held("moderate", "medians"), strict=True)]
        ).mean(0),
    }
    assert set(expected) == set(oracles_scores.SCORES) - {"knn_label_disagreement"}
    assert last.keys is not None
    for name, values in expected.items():
        torch.testing.assert_close(fold(name, seen), values, msg=name, check_dtype=False, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 150])
def test_el2n_and_loss_of_uniform_logits(classes: int) -> None:
    # p = 1/C everywhere: ‖p − y‖² = (1 − 1/C)² + (C − 1)/C² = 1 − 1/C, and −ln p_y = ln C.
    logits, labels = torch.zeros(1, classes, dtype=torch.float64), torch.tensor([1])
    assert math.isclose(float(el2n(logits, labels)), math.sqrt(1 - 1 / classes), rel_tol=1e-12)
    assert math.isclose(float(loss(logits, labels)), math.log(classes), rel_tol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=6), st.integers(0, 1))
def test_el2n_lies_between_0_and_root_2(logits: list[float], label: int) -> None:
    value = float(el2n(torch.tensor([logits], dtype=torch.float64), torch.tensor([label])))
    assert 0 <= value <= math.sqrt(2) + 1e-12


@settings(max_examples=50, deadline=None)
@given(st.floats(-20, 20), st.floats(-20, 20))
def test_el2n_of_two_classes_is_the_missing_probability(a: float, b: float) -> None:
    # p − y = (p_y − 1, 1 − p_y) for two classes.
    logits = torch.tensor([[a, b]], dtype=torch.float64)
    expected = math.sqrt(2) * (1 - float(logits.softmax(1)[0, 0]))
    assert math.isclose(float(el2n(logits, torch.tensor([0]))), expected, rel_tol=1e-9, abs_tol=1e-12)


def test_vog_of_identical_checkpoints_is_0_and_grows_with_the_square_of_the_gradients() -> None:
    seen = trace(1) * 4
    assert not fold("vog", seen).any()
    moving = trace(4)
    mask = moving[0].mask
    grads = [s.embedding_grads["logit"] for s in moving]
    tripled = RunningMoments.from_values([3 * g for g in grads])
    torch.testing.assert_close(vog(tripled, mask), 9 * vog(RunningMoments.from_values(grads), mask))


def test_vog_counts_real_tokens_only() -> None:
    # Two checkpoints with gradients ±1 at every real coordinate: variance 1, whatever the padding holds.
    mask = torch.tensor([[True, True, False], [True, False, False]])
    grads = torch.stack([torch.ones(2, 3, 4), -torch.ones(2, 3, 4)])
    grads[0, 0, 2] = 1e6
    moments = RunningMoments.from_values(grads)
    assert vog(moments, mask).tolist() == [1.0, 1.0]
    assert vog(moments, torch.zeros_like(mask)).isnan().all()


def test_vog_options() -> None:
    seen = trace()
    for objective in ("logit", "loss", "probability"):
        moments = RunningMoments.from_values(s.embedding_grads[objective] for s in seen)
        torch.testing.assert_close(fold("vog", seen, objective=objective), vog(moments, seen[0].mask))
        assert Vog(objective=objective).objectives == {objective}
    deviations = torch.stack([s.embedding_grads["logit"] for s in seen]).std(0, correction=0)
    found = fold("vog", seen, variance="std")
    for row, mask in enumerate(seen[0].mask):
        torch.testing.assert_close(found[row], deviations[row][mask].mean())


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([1, 1, 1, 1], 0),
        ([0, 0, 0, 1], 0),
        ([1, 0, 1, 0], 2),
        ([0, 1, 0, 0], 1),
        ([0, 0, 0, 0], 4),  # never learned: the number of checkpoints
    ],
)
def test_forgetting_by_hand(history: list[int], expected: int) -> None:
    assert fold("forgetting", logits_of([[0.9, 0.1] if hit else [0.1, 0.9] for hit in history])).tolist() == [expected]
    assert oracles.forgetting([[hit] for hit in history]) == [expected]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=12))
def test_forgetting_happens_at_most_every_second_time(history: list[bool]) -> None:
    value = float(fold("forgetting", logits_of([[0.9, 0.1] if hit else [0.1, 0.9] for hit in history]))[0])
    assert value <= len(history) // 2 if any(history) else value == len(history)


def test_a_never_learned_example_may_count_as_never_forgotten() -> None:
    seen = logits_of([[0.1, 0.9]] * 4)
    assert fold("forgetting", seen).tolist() == [4.0]
    assert fold("forgetting", seen, never_learned="events").tolist() == [0.0]
    seen = logits_of([[0.9, 0.1], [0.1, 0.9], [0.1, 0.9]])
    assert fold("forgetting", seen).tolist() == fold("forgetting", seen, never_learned="events").tolist() == [1.0]


def test_grand_last_is_the_norm_of_the_last_layers_gradient() -> None:
    # METHODS, invariant 2: ∂ℓ/∂W = (p − y) hᵀ and ∂ℓ/∂b = p − y, so ‖·‖² = ‖p − y‖² (‖h‖² + 1).
    seen = trace(1)[0]
    assert seen.features is not None
    h, z = seen.features[0], seen.logits[0]
    weight, offset = torch.zeros(3, 6, dtype=torch.float64, requires_grad=True), z.clone().requires_grad_()
    value = torch.nn.functional.cross_entropy((weight @ h + offset)[None], seen.labels[:1])
    gradients = torch.autograd.grad(value, [weight, offset])
    expected = torch.cat([g.flatten() for g in gradients]).norm()
    torch.testing.assert_close(grand_last(seen.logits, seen.labels, seen.features)[0], expected)
    torch.testing.assert_close(fold("grand_last", [seen])[0], expected)
    closed = el2n(seen.logits, seen.labels) * (1 + seen.features.norm(dim=1) ** 2).sqrt()
    torch.testing.assert_close(fold("grand_last", [seen]), closed)


@pytest.mark.parametrize(("name", "options"), [("grand", {}), ("grand_last", {"parameters": "last"})])
def test_tracin_self_at_one_checkpoint_with_rate_1_is_the_squared_gradient_norm(
    name: str, options: dict[str, str]
) -> None:
    # METHODS, invariant 3: Σ_k η_k ‖∇ℓ‖² has one term with η = 1. The checkpoint's own rate here is 0.1.
    seen = trace(1)
    torch.testing.assert_close(fold("tracin_self", seen, **options) / 0.1, fold(name, seen) ** 2)


def test_tracin_to_the_example_itself_is_tracin_self() -> None:
    # ⟨g, g⟩ = ‖g‖²: a target of that one row.
    seen = trace(4, scores=[made("tracin_target")])
    key = made("tracin_target").references[0].key
    for artifacts in seen:
        assert artifacts.grad_norms is not None
        artifacts.grad_dots[key] = artifacts.grad_norms.square()[:, None]
    torch.testing.assert_close(fold("tracin_target", seen), fold("tracin_self", seen))


def test_tracin_over_groups_takes_their_mean_or_the_one_that_gains_most() -> None:
    # Two checkpoints, rates 0.1 and 0.05, two groups: Σ = (0.1·1 + 0.05·4, 0.1·3 − 0.05·2) = (0.3, 0.2). The maximum is
    # that of the sums, not the sum of the maxima 0.1·3 + 0.05·4 = 0.5.
    rates = torch.tensor([0.1, 0.05])
    dots = torch.tensor([[[1.0, 3.0]], [[4.0, -2.0]]])
    sums = (rates[:, None, None] * dots).sum(0)
    torch.testing.assert_close(tracin_target(sums), torch.tensor([0.25]))
    torch.testing.assert_close(tracin_target(sums, "max"), torch.tensor([0.3]))
    options = {"target": TARGET, "by": "class", "over": "max"}
    seen = trace(2, rows=1, scores=[made("tracin_target", **options)])
    for artifacts, given_dots in zip(seen, dots, strict=True):
        artifacts.grad_dots[made("tracin_target", **options).references[0].key] = given_dots
    torch.testing.assert_close(fold("tracin_target", seen, **options), torch.tensor([0.3]))


def test_influence_is_the_fall_of_the_targets_loss_when_an_example_weighs_more() -> None:
    # A quadratic training loss ½ wᵀHw − bᵀw has its minimum at H⁻¹b. With weight ε on an example of loss ⟨g, w⟩ it lies
    # at H⁻¹(b − εg), and a target of loss ⟨t, w⟩ falls by ε ⟨t, H⁻¹ g⟩, exactly.
    drawn = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    hessian, b, g, t = drawn @ drawn.T + torch.eye(4), drawn[0], drawn[1], drawn[2]
    epsilon = 0.3
    before, after = torch.linalg.solve(hessian, b), torch.linalg.solve(hessian, b - epsilon * g)
    dot = g @ torch.linalg.solve(hessian, t)  # with the direction that the reference prepares
    torch.testing.assert_close(influence(dot[None, None]), (t @ (before - after) / epsilon)[None])


def test_entropy_and_margin_by_hand() -> None:
    # p = (1/2, 1/4, 1/4): H = ½ ln 2 + ½ ln 4 = 1.5 ln 2; the label (class 0) is 1/4 ahead in probability, and
    # ln ½ − ln ¼ = ln 2 in logits.
    seen = logits_of([[0.5, 0.25, 0.25]])
    assert float(fold("entropy", seen)) == pytest.approx(1.5 * math.log(2), rel=1e-12)
    assert float(fold("margin", seen)) == pytest.approx(0.25, rel=1e-12)
    assert float(fold("aum", seen)) == pytest.approx(math.log(2), rel=1e-12)
    assert float(fold("entropy", logits_of([[0.125] * 8]))) == pytest.approx(math.log(8), rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=6), st.integers(0, 1))
def test_ranges_of_entropy_and_margins(logits: list[float], label: int) -> None:
    z, y = torch.tensor([logits], dtype=torch.float64), torch.tensor([label])
    assert -1e-12 <= float(entropy(z)) <= math.log(len(logits)) + 1e-12
    assert -1 <= float(margin(z, y)) <= 1
    assert (float(aum(z, y)) >= 0) == (z[0, label] == z.max())


@settings(max_examples=50, deadline=None)
@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(0.05, 0.95))
def test_two_classes_leave_one_opinion(a: float, b: float, prior: float) -> None:
    # METHODS, invariants 1 and 4: margin = 2 p_y − 1, EL2N = √2 (1 − p_y), PVI = log₂ p_y − log₂ p⁰_y.
    z, y = torch.tensor([[a, b]], dtype=torch.float64), torch.tensor([0])
    p = float(z.softmax(1)[0, 0])
    assert float(margin(z, y)) == pytest.approx(2 * p - 1, abs=1e-12)
    null = torch.tensor([prior, 1 - prior], dtype=torch.float64).log()
    assert float(pvi(z, y, null)) == pytest.approx(math.log2(p) - math.log2(prior), rel=1e-9, abs=1e-9)


def test_within_a_class_pvi_ranks_two_classes_as_el2n_does() -> None:
    z = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y, null = torch.arange(50) % 2, torch.tensor([0.2, 0.8]).log()
    for label in (0, 1):
        mine = y == label
        assert torch.equal(pvi(z, y, null)[mine].argsort(), el2n(z, y)[mine].argsort(descending=True))


def test_mean_pvi_is_the_entropy_of_the_labels_minus_the_cross_entropy() -> None:
    # METHODS, invariant 4: with the class shares q as null, mean(−log₂ q_y) = H(q), so mean PVI = H(q) − CE / ln 2.
    score = made("pvi", null="prior")
    seen = trace(1, rows=60, scores=[score])
    counts = torch.bincount(seen[0].labels, minlength=3).double()
    q = counts / counts.sum()
    held: Any = {score.references[0].key: {"log_p": q.log()}}
    first = Artifacts(seen[0].labels, seen[0].mask, seen[0].logits, reference=held)
    bits = float(-(q * q.log2()).sum())
    expected = bits - float(loss(first.logits, first.labels).mean()) / math.log(2)
    assert float(fold("pvi", [first], null="prior").mean()) == pytest.approx(expected, rel=1e-12)


def test_pvi_refuses_a_label_that_the_null_gives_no_probability() -> None:
    score = made("pvi", null="prior")
    seen = trace(1, scores=[score])[0]
    missing = int(seen.labels[0])
    log_p = torch.full((3,), math.log(0.5), dtype=torch.float64)
    log_p[missing] = -torch.inf
    held: Any = {score.references[0].key: {"log_p": log_p}}
    with pytest.raises(ScoreError, match=rf"class {missing} has the log-probability -inf[^$]*score the corpus that"):
        folded(score, [Artifacts(seen.labels, seen.mask, seen.logits, reference=held)])
    others = seen.labels != missing
    kept = Artifacts(seen.labels[others], seen.mask[others], seen.logits[others], reference=held)
    assert folded(score, [kept]).isfinite().all()  # a class without a row stands in nobody's way


def test_scores_of_windows_by_hand() -> None:
    # p_y = 0.1, 0.5, 0.3, 0.3 and J = 3: windows (0.1, 0.5, 0.3) of mean 0.3 and deviation √((0.04 + 0.04)/2) = 0.2,
    # and (0.5, 0.3, 0.3) of mean 11/30 and deviation √((4 + 1 + 1)/225/2) = √(3/225).
    seen = logits_of([[p, 1 - p] for p in (0.1, 0.5, 0.3, 0.3)])
    second = math.sqrt(3) / 15
    assert float(fold("dyn_unc", seen, window=3)) == pytest.approx((0.2 + second) / 2, rel=1e-12)
    expected = (0.2 * 0.7 + second * (1 - 11 / 30)) / 2
    assert float(fold("dual", seen, window=3)) == pytest.approx(expected, rel=1e-12)


def test_tdds_by_hand() -> None:
    # p = (½, ½) → (¼, ¾) → (½, ½) → (½, ½). With a = ln 2, b = ln 1.5 the changes Σ |p' ln(p'/p)| are
    # ¼ a + ¾ b, ½ a + ½ b, and 0. A window of J = 3 checkpoints has two changes; the norm of their deviations from the
    # mean is |difference| / √2. The last window weighs 0.9, the one before 0.09.
    seen = logits_of([[0.5, 0.5], [0.25, 0.75], [0.5, 0.5], [0.5, 0.5]])
    a, b = math.log(2), math.log(1.5)
    first = abs((a / 4 + 3 * b / 4) - (a / 2 + b / 2)) / math.sqrt(2)
    last = (a / 2 + b / 2) / math.sqrt(2)
    assert float(fold("tdds", seen, window=3)) == pytest.approx(0.09 * first + 0.9 * last, rel=1e-12)


def test_steady_predictions_score_0_in_windows() -> None:
    seen = logits_of([[0.3, 0.7]] * 8)
    for name in ("dyn_unc", "dual", "tdds", "variability"):
        assert float(fold(name, seen)) == pytest.approx(0, abs=1e-12), name


def test_one_window_of_all_checkpoints_makes_dyn_unc_variability() -> None:
    # The deviations differ by √(K / (K − 1)) alone: ddof 1 against ddof 0.
    seen = trace(6)
    torch.testing.assert_close(fold("dyn_unc", seen, window=10), math.sqrt(6 / 5) * fold("variability", seen))
    torch.testing.assert_close(fold("dyn_unc", seen, window=6), fold("dyn_unc", seen, window=10))


def test_windowed_deviations_stay_below_their_bound() -> None:
    # Of J values in [0, 1] half 0 and half 1: Σ (x − ½)² / (J − 1) = J / (4 (J − 1)).
    history = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64)[:, None]
    assert float(dyn_unc(history)) == pytest.approx(math.sqrt(4 / 12), rel=1e-12)
    assert float(dyn_unc(history[:2])) == pytest.approx(math.sqrt(0.5), rel=1e-12)


def test_aum_along_the_training_is_the_mean_of_the_stored_margins() -> None:
    # METHODS, invariant 8.
    seen = trace(9)
    torch.testing.assert_close(fold("aum", seen), torch.stack([aum(s.logits, s.labels) for s in seen]).mean(0))


def test_a_shift_of_all_logits_changes_no_prediction_score() -> None:
    names = [name for name in SCORES if from_logits(made(name))]
    seen = trace(6)
    moved = [Artifacts(s.labels, s.mask, s.logits + 3.0) for s in seen]
    for name in names:
        torch.testing.assert_close(fold(name, moved), fold(name, seen), msg=name)


def test_distances_by_hand() -> None:
    # (3, 4) has cosine 0.6 and 0.8 with the axes, whatever their lengths, and lies √(9 + 1) from (0, 3).
    h = torch.tensor([[3.0, 4.0], [-1.0, 0.0]], dtype=torch.float64)
    centres = torch.tensor([[10.0, 0.0], [0.0, 0.1]], dtype=torch.float64)
    torch.testing.assert_close(prototype(h, centres), torch.tensor([0.2, 1.0], dtype=torch.float64))
    assert float(prototype(h[1:], centres[:1])) == pytest.approx(2.0)
    medians = torch.tensor([[0.0, 3.0], [math.nan, math.nan]], dtype=torch.float64)
    found = moderate(h, torch.tensor([0, 1]), medians)
    assert float(found[0]) == pytest.approx(math.sqrt(10))
    assert found[1].isnan()  # a class that the sample lacks


def test_disagreement_counts_the_neighbours_of_another_label() -> None:
    found = knn_label_disagreement(torch.tensor([0, 1]), torch.tensor([[0, 1, 2, 0], [1, 1, 1, 1]]))
    assert found.tolist() == [0.5, 0.0]


def test_a_row_is_not_its_own_neighbour_and_ties_do_not_depend_on_the_sample_order() -> None:
    score = made("knn_label_disagreement", neighbours=2)
    seen = trace(1, rows=1, scores=[score])[0]
    h = torch.tensor([[1.0, 0.0]])
    # Four copies of the row, one of them itself (key 7, another label than the row's own here); keys decide.
    sample = {
        "features": torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 0.0], [3.0, 0.0], [0.0, 1.0]]),
        "labels": torch.tensor([0, 1, 1, 0, 1]),
        "keys": torch.tensor([5, -3, 7, 9, -9]),
    }
    for order in (torch.arange(5), torch.tensor([3, 4, 2, 1, 0])):
        held: Any = {score.references[0].key: {name: tensor[order] for name, tensor in sample.items()}}
        row = Artifacts(torch.tensor([0]), seen.mask, seen.logits, features=h, reference=held, keys=torch.tensor([7]))
        assert folded(score, [row]).tolist() == [0.5]  # keys −3 (label 1) and 5 (label 0)
    lonely: Any = {score.references[0].key: {name: tensor[:2] for name, tensor in sample.items()}}
    row = Artifacts(torch.tensor([0]), seen.mask, seen.logits, features=h, reference=lonely, keys=torch.tensor([7]))
    with pytest.raises(ScoreError, match=r"2 neighbours of each row among 2 rows[^$]*lower the option `neighbours`"):
        folded(score, [row])


def test_variability_is_at_most_a_half() -> None:
    assert variability(RunningMoments.from_values(torch.tensor([[0.0], [1.0]]))).tolist() == [0.5]


def test_forgetting_starts_from_nothing() -> None:
    assert Forgetting().init().count == 0


@pytest.mark.parametrize("name", SCORES)
def test_the_fold_calls_the_formula_of_its_module(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # One source of truth: a formula that is changed changes the score.
    module, score = sys.modules[SCORES[name].__module__], made(name)
    formula, before = getattr(module, name), folded(score, trace(7, scores=[score]))
    monkeypatch.setattr(module, name, lambda *given, **more: 7 + 3 * formula(*given, **more))
    assert not torch.isclose(folded(score, trace(7, scores=[score])), before).any()
