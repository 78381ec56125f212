"""Differences between arms: golden values by hand, slow twins, and what simulation says of the promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from raysample.evaluation import OBJECTIVES, Predictions, difference, estimates, evaluate, holm
from raysample.evaluation.differences import Difference
from tests.helpers.equal_arms import compare_equal_arms, estimated, hits

Floats = NDArray[np.float64]


def predictions(gold: str, predicted: str, group: str | None = None) -> Predictions:
    """One digit per row."""
    codes = [np.array([int(sign) for sign in text], np.int64) for text in (gold, predicted)]
    return Predictions(*codes, None if group is None else np.array([int(sign) for sign in group], np.int64))


def single(mean: float, seeds: float, degrees: float, rows: float) -> Difference:
    return Difference(*(np.array(value) for value in (mean, seeds, degrees, rows)))


def test_one_seed_has_mcnemars_variance_and_no_interval() -> None:
    # Ten rows; ours alone is right on b = 3 of them, theirs alone on c = 1, both on 4, none on 2.
    # (b + c − (b − c)²/N) / N² = (4 − 0.4) / 100 = 0.036, and the correction 1/(10 + 2)² = 1/144.
    ours = estimates("accuracy", [predictions("0" * 10, "0000000111")])
    theirs = estimates("accuracy", [predictions("0" * 10, "0000111011")])
    found = difference(ours, theirs)
    assert float(found.mean) == pytest.approx(0.2)
    assert float(found.rows) == pytest.approx(0.036 + 1 / 144)
    assert math.isnan(float(found.seeds))
    assert all(math.isnan(float(end)) for end in found.bounds(0.95))
    assert math.isnan(float(found.p_value()))


def test_the_variance_between_seeds_is_welchs() -> None:
    # Ours: accuracies 0.6, 0.8 (s² = 0.02), theirs 0.5, 0.5 where no row changes (s² = 0).
    # V = (0.02 + 0) / 2 = 0.01; Satterthwaite: 0.01² / (0.01²/1) = 1 degree.
    # Ours' rows change on two of ten: Σ s_i²/N² = 2 · 0.5/100 + the shift of the influences, below 0.02.
    ours = estimates("accuracy", [predictions("0" * 10, "0000001111"), predictions("0" * 10, "0000000011")])
    theirs = estimates("accuracy", [predictions("0" * 10, "0000011111")] * 2)
    found = difference(ours, theirs)
    assert float(found.mean) == pytest.approx(0.2)
    assert float(found.seeds) == pytest.approx(0.01)
    assert float(found.degrees) == pytest.approx(1.0)


def test_seeds_that_agree_by_chance_are_not_taken_for_equal() -> None:
    # Two seeds, both right on half of ten rows, on different ones: s_i² = 0.5 for each row, Σ s_i²/N² = 5/100 per arm.
    flips = [predictions("0" * 10, "0000011111"), predictions("0" * 10, "1111100000")]
    found = difference(estimates("accuracy", flips), estimates("accuracy", flips))
    assert float(found.seeds) == pytest.approx((0.05 + 0.05) / 2)
    assert float(found.degrees) == pytest.approx(2.0)
    assert float(found.rows) == pytest.approx(1 / 144)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_an_interval_holds_both_sources(size: int) -> None:
    t, z = stats.t.ppf(0.975, size), stats.norm.ppf(0.975)
    found = single(0.01, 0.0004, size, 0.0009)
    low, high = found.bounds(0.95)
    assert high - 0.01 == pytest.approx(math.sqrt(t**2 * 0.0004 + z**2 * 0.0009))
    assert low == pytest.approx(0.02 - high)


@pytest.mark.parametrize(
    ("given", "p"),
    [
        ((1.959964, 0.0, 1.0, 1.0), 0.025),  # rows alone: the normal distribution
        ((4.302653, 1.0, 2.0, 0.0), 0.025),  # seeds alone: Student's with two degrees
        ((-1.644854, 0.0, 1.0, 1.0), 0.95),
        ((0.0, 1.0, 2.0, 1.0), 0.5),
    ],
)
def test_p_values_are_where_the_interval_touches(given: tuple[float, float, float, float], p: float) -> None:
    found = single(*given)
    assert float(found.p_value()) == pytest.approx(p, rel=1e-5)
    assert float(found.p_value(given[0])) == pytest.approx(0.5, abs=1e-6)
    assert float(found.two_sided()) == pytest.approx(2 * min(p, 1 - p), rel=1e-5)


def test_holm_by_hand() -> None:
    # 0.01 · 3 = 0.03; 0.03 · 2 = 0.06; 0.04 · 1 = 0.04, which may not fall below 0.06.
    assert holm(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.5, 0.6])).tolist() == pytest.approx([1.0, 1.0])
    assert holm(np.array([0.02])).tolist() == pytest.approx([0.02])


def test_copies_are_one_piece_of_evidence() -> None:
    # Four rows, ours right on the first two, which are copies, theirs on none: d = 1/2, e = ½ ½ −½ −½.
    # Rows: Σ e²/N² = 1/16. Clusters: sums 1, −½, −½: 1.5/16 · 3/2 = 9/64, and the correction 1/36.
    ours, theirs = (estimates("accuracy", [predictions("0000", said)]) for said in ("0011", "1111"))
    assert float(difference(ours, theirs).rows) == pytest.approx(1 / 16 + 1 / 36)
    clustered = difference(ours, theirs, np.array([0, 0, 1, 2]))
    assert float(clustered.rows) == pytest.approx(9 / 64 + 1 / 36)


@pytest.mark.parametrize("grouped", [False, True])
def test_objectives_are_those_of_the_evaluation(grouped: bool) -> None:
    draw = np.random.default_rng(5)
    gold, logits = draw.integers(0, 4, 300), draw.normal(size=(300, 5))
    logits[np.arange(300), gold] += 1.0
    groups = np.array(["a", "b", "c"], dtype=object)[draw.integers(0, 3, 300)] if grouped else None
    found = evaluate(logits, gold, groups, replicates=0)
    assert found.predictions is not None
    worst = "worst_group_recall" if grouped else "worst_class_recall"
    for objective, metric in zip(OBJECTIVES, ("accuracy", "macro_f1", worst), strict=True):
        assert estimates(objective, [found.predictions]).values[0] == pytest.approx(found.metrics[metric])


def weighted(objective: str, run: Predictions, weight: Floats) -> float:
    """Return the objective of weighted rows, too plain to be wrong."""
    hit = run.gold == run.predicted
    if objective == "accuracy":
        return float((weight * hit).sum() / weight.sum())
    codes = run.gold if run.group is None else run.group
    if objective == "worst_group":
        return min(float((weight * hit)[codes == c].sum() / weight[codes == c].sum()) for c in np.unique(codes))
    f1 = []
    for c in np.union1d(run.gold, run.predicted):
        of, said = run.gold == c, run.predicted == c
        f1.append(2 * (weight * (of & said)).sum() / ((weight * of).sum() + (weight * said).sum()))
    return float(np.mean(f1))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("group", [None, "0011220011"])
def test_influences_are_derivatives(objective: str, group: str | None) -> None:
    run = predictions("0001112222", "0011122203", group)
    found = estimates(objective, [run]).influence[0]
    for row in range(10):
        up, down = (np.ones(10) + np.eye(10)[row] * step for step in (1e-6, -1e-6))
        slope = (weighted(objective, run, up) - weighted(objective, run, down)) / 2e-6
        assert found[row] == pytest.approx(10 * slope, abs=1e-6)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("0123456789" * 3, "0123456789" * 3),  # all right, both
        ("1234567890" * 3, "1234567890" * 3),  # all wrong, both
        ("0123456789" * 3, "1234567890" * 3),  # all right against all wrong
        ("0" * 30, "0" * 30),  # constant
        ("0123456788" * 3, "0123456789" * 3),
    ],
)
def test_no_interval_has_width_0(objective: str, seeds: int, ours: str, theirs: str) -> None:
    gold = "0123456789" * 3
    found = difference(*(estimates(objective, [predictions(gold, said)] * seeds) for said in (ours, theirs)))
    low, high = found.bounds(0.95)
    # At the least what two more rows that disagree bring, for a share of all 30.
    least = 2 * 1.9599 / (32 if objective == "accuracy" else 3 * 32)
    assert high - low >= least


@pytest.mark.parametrize("spread", [0.02, 0.25])
@pytest.mark.parametrize("rows", [200, 2_000])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_equal_arms_are_rarely_called_better(seeds: int, rows: int, spread: float) -> None:
    draw, comparisons = np.random.default_rng([seeds, rows, int(100 * spread)]), 400
    found = [compare_equal_arms(draw, 50, seeds, rows, spread) for _ in range(comparisons // 50)]
    family, missed = (sum(int(getattr(each, what).sum()) for each in found) for what in ("false", "missed"))
    assert all((each.high > each.low).all() for each in found)
    # 5 % of 400 are 20; more than 34 would come of a rate of 5 % once in a thousand such tests.
    assert family <= stats.binom.ppf(0.999, comparisons, 0.05)
    assert missed <= stats.binom.ppf(0.999, comparisons, 0.05)


def test_a_real_difference_is_seen() -> None:
    draw = np.random.default_rng(3)
    ease = draw.normal(1.6, 1.2, (100, 1, 2_000)).astype(np.float32)
    better, worse = (estimated(hits(draw, ease, 3, 0.02, margin)) for margin in (0.4, 0.0))
    assert (difference(better, worse).p_value() < 0.025).mean() > 0.95
