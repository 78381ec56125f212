"""The probe on selections, its scores, and nearest earlier rows."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysample.core.errors import SelectionError
from raysample.core.numerics import logistic_regression as lr
from raysample.core.numerics.geometry import nearest_earlier
from raysample.selection.probe import fitting as probe
from raysample.selection.probe import probe_scores as scores
from raysample.selection.probe.fitting import (
    LEAST_PROBABILITY,
    fit_probes,
    judge_probes,
    probe_rows,
    strength_part,
)


def blobs(
    rows: int = 400, classes: int = 3, noise: float = 0.0, seed: int = 0
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return unit vectors around one centre per class, labels, and which labels are wrong."""
    draw = np.random.default_rng(seed)
    truth = np.arange(rows) % classes
    V = np.eye(16)[truth] + draw.normal(size=(rows, 16)) * 0.3
    V /= np.linalg.norm(V, axis=1, keepdims=True)
    wrong = draw.random(rows) < noise
    labels = np.where(wrong, (truth + draw.integers(1, classes, rows)) % classes, truth)
    return V.astype(np.float16), labels, wrong


def area_under_curve(positive: npt.NDArray[np.bool_], score: npt.NDArray[np.float32]) -> float:
    """Return the chance that a positive row has a higher score than another one (AUROC)."""
    return float((score[positive][:, None] > score[~positive]).mean())


def test_a_selection_is_judged_as_a_regression_on_its_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "STRENGTHS", (3.0,))
    monkeypatch.setattr(probe, "_FINAL", 1e-5)
    V, y, _ = blobs()
    rows = probe_rows(V, y, 3)
    kept = np.random.default_rng(1).random((4, 400)) < 0.5
    fit = fit_probes(rows, kept.astype(np.float32), strength_part(400, 0))
    assert bool(fit.converged.all())
    together = judge_probes(fit, rows)
    for p in range(4):
        own = rows.take(np.flatnonzero(kept[p]))
        penalty = torch.tensor([1 / (3.0 * len(own))])
        alone = lr.fit_logistic(
            own.features, own.labels, 3, torch.ones(1, len(own)), penalty, tolerance=1e-9, dtype=torch.float64
        )
        np.testing.assert_allclose(judge_probes(alone, rows).loss[0], together.loss[p], atol=1e-2)


def test_large_and_small_selections_take_different_ways_to_the_same_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    V, y, _ = blobs()
    rows = probe_rows(V, y, 3)
    kept = (torch.rand(5, 400, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    penalties = torch.full((5, 2), 1e-3)
    found = []
    for narrow in (-1_000_000, 1_000_000):  # every selection on its own, all together
        monkeypatch.setattr(lr, "_NARROW", narrow)
        fit = lr.fit_selections(rows.features, rows.labels, 3, kept, penalties, tolerance=1e-5)
        assert fit.coefficients.shape == (10, 17, 3)
        found.append(judge_probes(fit, rows).loss)
    np.testing.assert_allclose(found[0], found[1], atol=5e-3)


def test_a_fit_does_not_remember_the_selections_beside_it() -> None:
    V, y, wrong = blobs(noise=0.3)
    rows, held = probe_rows(V, y, 3), strength_part(400, 0)
    random, clean = np.random.default_rng(0).random(400) < 0.5, ~wrong
    # The same selection beside two different ones: as the leading one has the same strength, it has the same probe.
    found = [
        judge_probes(fit_probes(rows, np.stack([random, each, random]).astype(np.float32), held), rows).loss
        for each in (clean, wrong)
    ]
    np.testing.assert_allclose(found[0][2], found[1][2], atol=1e-4)
    np.testing.assert_allclose(found[0][0], found[0][2], atol=1e-4)


def test_a_noisy_corpus_is_given_a_stronger_penalty() -> None:
    sizes = []
    for noise in (0.0, 0.4):
        V, y, _ = blobs(noise=noise)
        fit = fit_probes(probe_rows(V, y, 3), np.ones((1, 400), np.float32), strength_part(400, 0))
        sizes.append(float(fit.coefficients[0, :-1].norm()))
    assert sizes[1] < sizes[0] / 2


def test_a_class_that_was_not_kept_costs_a_bounded_loss() -> None:
    V, y, _ = blobs()
    rows = probe_rows(V, y, 3)
    fit = fit_probes(rows, (y != 2)[None].astype(np.float32), strength_part(400, 0))
    judged = judge_probes(fit, rows)
    assert judged.loss.max() <= -math.log(LEAST_PROBABILITY) + 1e-6
    assert not (judged.predicted[0] == 2).any()


def test_features_that_are_not_finite_are_refused_with_their_number() -> None:
    V, y, _ = blobs()
    V[[3, 5], 0] = np.nan, np.inf
    with pytest.raises(SelectionError, match=r"features of 2 of 400 rows are not finite, the first is row 3"):
        probe_rows(V, y, 3)
    with pytest.raises(SelectionError, match="expected a row of features for each of 3 labels"):
        probe_rows(V, y[:3], 3)


def test_a_selection_of_held_out_rows_alone_is_refused() -> None:
    V, y, _ = blobs()
    held = strength_part(400, 0)
    with pytest.raises(SelectionError, match="no rows but held-out ones"):
        fit_probes(probe_rows(V, y, 3), held[None].astype(np.float32), held)


def test_scores_find_wrong_labels() -> None:
    V, y, wrong = blobs(rows=900, noise=0.15)
    found = scores.probe_scores(probe_rows(V, y, 3), V)
    assert list(found) == list(scores.PROBE_HIGHER_IS)
    for name in ("probe_el2n", "probe_aum", "out_of_fold_confidence"):
        harder = found[name] if scores.PROBE_HIGHER_IS[name] == "harder" else -found[name]
        assert area_under_curve(wrong, harder) > 0.95, name


def test_scores_stay_within_their_ranges_and_repeat_bit_for_bit() -> None:
    V, y, _ = blobs(noise=0.1)
    rows = probe_rows(V, y, 3)
    one, other = (scores.probe_scores(rows, V, seed=3) for _ in range(2))
    for name in scores.PROBE_HIGHER_IS:
        assert one[name].dtype == np.float32
        assert np.array_equal(one[name], other[name])
    assert 0 <= one["probe_el2n"].min() <= one["probe_el2n"].max() <= math.sqrt(2)
    assert 0 <= one["out_of_fold_confidence"].min() <= one["out_of_fold_confidence"].max() <= 1
    assert -1 <= one["nearest_similarity"].min() <= one["nearest_similarity"].max() <= 1


def test_a_probe_without_information_has_the_scores_of_theory() -> None:
    # Features of zeros: only the bias learns, so logits are ln of the class shares, here equal: EL2N = √(1 − 1/C),
    # a margin of 0, and a confidence of 1/C.
    y = np.arange(400) % 4
    V = np.zeros((400, 8), np.float16)
    found = scores.probe_scores(probe_rows(V, y, 4), V)
    np.testing.assert_allclose(found["probe_el2n"], math.sqrt(3 / 4), atol=1e-5)
    np.testing.assert_allclose(found["probe_aum"], 0, atol=1e-5)
    np.testing.assert_allclose(found["out_of_fold_confidence"], 1 / 4, atol=0.02)
    assert (found["nearest_similarity"] == -1).all()


def test_out_of_fold_predictions_do_not_see_the_rows_own_label() -> None:
    # Labels by lot: whoever has seen them is confident, whoever has not is at chance.
    draw = np.random.default_rng(0)
    V, y = draw.normal(size=(300, 64)).astype(np.float16), draw.integers(0, 2, 300)
    V /= np.linalg.norm(V.astype(np.float32), axis=1, keepdims=True).astype(np.float16)
    found = scores.out_of_fold(probe_rows(V, y, 2))
    assert abs(float((found.predicted == y).mean()) - 0.5) < 0.12
    assert found.predicted_confidence.min() >= 0.5 - 1e-6


def test_only_the_asked_scores_are_computed() -> None:
    V, y, _ = blobs(60)
    assert list(scores.probe_scores(probe_rows(V, y, 3), V, names=["nearest_similarity"])) == ["nearest_similarity"]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 7))
def test_nearest_earlier_rows_are_those_of_a_loop(seed: int, rows: int, block: int) -> None:
    draw = np.random.default_rng(seed)
    V = draw.normal(size=(rows, 3)).round(1)
    similarity, place = nearest_earlier(torch.tensor(V), block)
    lengths = np.linalg.norm(V, axis=1)
    for i in range(rows):
        cosines = [V[i] @ V[j] / (lengths[i] * lengths[j]) if lengths[i] * lengths[j] else -1 for j in range(i)]
        best = max(cosines, default=-1.0)
        assert float(similarity[i]) == pytest.approx(best, abs=1e-5)
        assert int(place[i]) == -1 if best == -1 and not cosines else int(place[i]) < i


def test_the_second_copy_of_a_text_is_at_cosine_one_of_the_first() -> None:
    V = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    similarity, place = nearest_earlier(torch.cat([V, V]), block=16)
    np.testing.assert_allclose(similarity[50:], 1, atol=1e-6)
    assert place[50:].tolist() == list(range(50))
