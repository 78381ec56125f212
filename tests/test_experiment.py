from __future__ import annotations

import json
import math

import pytest

from raysample.experiment import (
    Comparison,
    Gap,
    RunResult,
    class_shift,
    class_warnings,
    paired_gap,
    summarise,
    verdict,
)


def run(arm: str, fraction: float, seed: int, accuracy: float, recall: tuple[float, ...] = (1.0, 0.5)) -> RunResult:
    metrics = {"accuracy": accuracy, "macro_f1": accuracy - 0.1, "worst_class_recall": 0.5}
    return RunResult(arm, fraction, seed, 10, 5, metrics, recall)


def test_a_paired_gap_is_students_interval_of_the_differences() -> None:
    # Differences 0.01, 0.02, 0.03: mean 0.02, s = 0.01, t(0.975, 2) = 4.3027.
    gap = paired_gap([0.51, 0.62, 0.73], [0.5, 0.6, 0.7], 0.95)
    assert gap.mean == pytest.approx(0.02)
    assert gap.high - gap.mean == pytest.approx(4.302653 * 0.01 / math.sqrt(3), rel=1e-5)
    assert gap.mean - gap.low == pytest.approx(gap.high - gap.mean)


def test_one_seed_has_no_interval_and_no_verdict() -> None:
    gap = paired_gap([0.5], [0.4], 0.95)
    assert math.isnan(gap.low)
    assert verdict(gap) == "one seed: no verdict"


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.1, 0.2, "better than random"),
        (-0.2, -0.1, "worse than random"),
        (-0.1, 0.1, "not distinguishable from random"),
    ],
)
def test_the_verdict_says_where_the_interval_lies(low: float, high: float, words: str) -> None:
    assert verdict(Gap((low + high) / 2, low, high, 3)) == words


def test_arms_are_compared_with_random_of_the_same_size_and_seed() -> None:
    runs = [run("full", 1.0, s, 0.9 + s / 100) for s in (0, 1)]
    runs += [run("random", 0.5, s, 0.8 + s / 100) for s in (1, 0)] + [run("random", 0.2, s, 0.1) for s in (0, 1)]
    runs += [run("hard(vog)", 0.5, s, 0.85 + s / 100) for s in (0, 1)]
    full, random, hard, smaller = summarise(runs, 0.95)
    assert (full.arm, random.arm, hard.arm, smaller.fraction) == ("full", "random", "hard(vog)", 0.2)
    assert full.verdict == "all data"
    assert full.gap_to_full is None
    assert random.verdict == "baseline"
    assert hard.gap_to_random is not None
    assert hard.gap_to_random.mean == pytest.approx(0.05)
    assert hard.gap_to_full is not None
    assert hard.gap_to_full.mean == pytest.approx(-0.05)
    assert hard.verdict == "better than random"


def test_a_comparison_survives_storage() -> None:
    runs = (run("full", 1.0, 0, 0.9, (1.0, math.nan)), run("random", 0.5, 0, 0.8))
    kept = {("random", 0.5): (3, 2)}
    before = Comparison(("a", "b"), (6, 4), kept, runs, summarise(runs, 0.95), 0.95, "equal_epochs", ("careful",))
    after = Comparison.of(json.loads(json.dumps(before.plain(), allow_nan=False)))
    assert after.kept_counts == kept
    assert after.warnings == ("careful",)
    assert math.isnan(after.runs[0].recall[1])
    assert repr(after) == repr(before)


def test_a_selection_that_wipes_out_a_class_is_named() -> None:
    kept = {("hard(el2n)", 0.5): (90, 12, 0), ("random", 0.5): (50, 50, 2)}
    (found,) = class_warnings(["a", "b", "c"], [100, 100, 4], kept)
    assert found.startswith("hard(el2n) at 50% turns the class mix over (class shift 0.39); it leaves no row of 1 of 3")
    assert "leaves no row of 1 of 3 classes: c (0 of 4 rows left); it nearly wipes out 1 of 3" in found
    assert found.endswith("nearly wipes out 1 of 3 classes: b (12 of 100 rows left)")


def test_class_shift_is_total_variation() -> None:
    assert class_shift([10, 10], [5, 5]) == 0
    assert class_shift([10, 10], [10, 0]) == 0.5
    assert class_shift([10, 0], [0, 3]) == 1
