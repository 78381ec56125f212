"""Each score's formula: golden values from theory, and its numpy twin."""

from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from raysample.artifacts import Artifacts
from raysample.checkpoints import Checkpoint
from raysample.scores import SCORES
from raysample.scores.confidence import confidence
from raysample.scores.correctness import correctness
from raysample.scores.el2n import el2n
from raysample.scores.forgetting import Forgetting, forgetting
from raysample.scores.grand import Grand, classifier_grand
from raysample.scores.loss import loss
from raysample.scores.variability import variability
from raysample.scores.vog import Vog, vog

AT = Checkpoint("somewhere", 10, 1.0, 1e-3)


def trace(checkpoints: int = 5, rows: int = 7, classes: int = 3, tokens: int = 4) -> list[Artifacts]:
    """Random artifacts of one mini-batch at several checkpoints, in float64."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(tokens)[None] < torch.randint(1, tokens + 1, (rows, 1), generator=generator)
    labels = torch.randint(classes, (rows,), generator=generator)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    return [
        Artifacts(
            labels=labels,
            mask=mask,
            logits=2 * drawn(rows, classes),
            features=drawn(rows, 6),
            grad_norms=drawn(rows).abs(),
            embedding_grads={name: drawn(rows, tokens, 5) for name in ("logit", "loss", "probability")},
        )
        for _ in range(checkpoints)
    ]


def fold(name: str, seen: list[Artifacts], **options: str) -> Tensor:
    score = SCORES[name](**options)  # type: ignore[arg-type]
    state = score.init()
    for artifacts in seen:
        state = score.fold(state, artifacts, AT)
    return score.value(state)


def test_folds_equal_the_formulas_over_the_stored_trace() -> None:
    seen = trace()
    labels, logits = seen[0].labels, torch.stack([s.logits for s in seen])
    p = torch.stack([s.logits.softmax(1)[torch.arange(7), labels] for s in seen])
    right = torch.stack([(s.logits.argmax(1) == labels).double() for s in seen])
    grads = torch.stack([s.embedding_grads["logit"] for s in seen])
    expected = {
        "vog": vog(grads, seen[0].mask),
        "el2n": torch.stack([el2n(z, labels) for z in logits]).mean(0),
        "grand": torch.stack([s.grad_norms for s in seen if s.grad_norms is not None]).mean(0),
        "forgetting": forgetting(right),
        "loss": torch.stack([loss(z, labels) for z in logits]).mean(0),
        "confidence": confidence(p),
        "variability": variability(p),
        "correctness": correctness(right),
    }
    assert set(expected) == set(SCORES)
    for name, values in expected.items():
        torch.testing.assert_close(fold(name, seen), values, msg=name, check_dtype=False, rtol=1e-10, atol=1e-12)


def test_formulas_equal_numpy() -> None:
    seen = trace()
    labels, logits = seen[0].labels.numpy(), np.stack([s.logits.numpy() for s in seen])
    p = oracles.softmax(logits)[:, np.arange(7), labels]
    np.testing.assert_allclose(fold("el2n", seen), oracles.el2n(logits, labels).mean(0))
    np.testing.assert_allclose(fold("loss", seen), -np.log(p).mean(0))
    np.testing.assert_allclose(fold("confidence", seen), p.mean(0))
    np.testing.assert_allclose(fold("variability", seen), p.std(0))
    right = (logits.argmax(-1) == labels).astype(int).tolist()
    assert fold("forgetting", seen).tolist() == oracles.forgetting(right)
    assert fold("correctness", seen).tolist() == np.sum(right, axis=0).tolist()


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
    grads = torch.stack([s.embedding_grads["logit"] for s in moving])
    torch.testing.assert_close(vog(3 * grads, mask), 9 * vog(grads, mask))


def test_vog_counts_real_tokens_only() -> None:
    # Two checkpoints with gradients ±1 at every real coordinate: variance 1, whatever the padding holds.
    mask = torch.tensor([[True, True, False], [True, False, False]])
    grads = torch.stack([torch.ones(2, 3, 4), -torch.ones(2, 3, 4)])
    grads[0, 0, 2] = 1e6
    assert vog(grads, mask).tolist() == [1.0, 1.0]
    assert vog(grads, torch.zeros_like(mask)).isnan().all()


def test_vog_options() -> None:
    seen = trace()
    for objective in ("logit", "loss", "probability"):
        grads = torch.stack([s.embedding_grads[objective] for s in seen])
        torch.testing.assert_close(fold("vog", seen, objective=objective), vog(grads, seen[0].mask))
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
    assert forgetting(torch.tensor(history, dtype=torch.float32)[:, None]).tolist() == [expected]
    assert oracles.forgetting([[hit] for hit in history]) == [expected]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=12))
def test_forgetting_happens_at_most_every_second_time(history: list[bool]) -> None:
    value = float(forgetting(torch.tensor(history, dtype=torch.float32)[:, None])[0])
    assert value <= len(history) // 2 if any(history) else value == len(history)


def test_classifier_grand_is_the_closed_form() -> None:
    seen = trace(1)[0]
    assert seen.features is not None
    h, z = seen.features[0], seen.logits[0]
    weight, offset = torch.zeros(3, 6, dtype=torch.float64, requires_grad=True), z.clone().requires_grad_()
    value = torch.nn.functional.cross_entropy((weight @ h + offset)[None], seen.labels[:1])
    gradients = torch.autograd.grad(value, [weight, offset])
    expected = torch.cat([g.flatten() for g in gradients]).norm()
    torch.testing.assert_close(classifier_grand(seen.logits, seen.labels, seen.features)[0], expected)
    torch.testing.assert_close(fold("grand", [seen], parameters="classifier")[0], expected)
    assert Grand(parameters="classifier").needs != Grand().needs


def test_variability_is_at_most_a_half() -> None:
    assert variability(torch.tensor([[0.0], [1.0]])).tolist() == [0.5]


@pytest.mark.parametrize("name", ["el2n", "loss", "confidence", "variability", "correctness", "forgetting"])
def test_a_row_with_logits_that_are_not_finite_has_no_value(name: str) -> None:
    seen = trace(3)
    seen[1].logits[2, 0] = math.nan
    values = fold(name, seen)
    assert values[2].isnan()
    assert values[[0, 1, 3, 4, 5, 6]].isfinite().all()


def test_forgetting_starts_from_nothing() -> None:
    assert Forgetting().init().count == 0
