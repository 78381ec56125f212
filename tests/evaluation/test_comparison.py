from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from raysample.evaluation import Predictions
from raysample.evaluation.arm_summary import Gap, RunResult, summarise
from raysample.evaluation.class_balance import class_shift, class_warnings
from raysample.evaluation.comparison import Comparison


def run(arm: str, fraction: float, seed: int, accuracy: float, recall: tuple[float, ...] = (1.0, 0.5)) -> RunResult:
    metrics = {"accuracy": accuracy, "macro_f1": accuracy - 0.1, "worst_class_recall": 0.5}
    return RunResult(arm, fraction, seed, 10, 5, metrics, recall)


def said(right: int, shift: int = 0) -> Predictions:
    """Return predictions of 400 rows of two classes, of which so many are right, beginning at a row."""
    gold = np.arange(400) % 2
    hit = (np.arange(400) - shift) % 400 < right
    return Predictions(gold, np.where(hit, gold, 1 - gold))


def compared(rights: dict[tuple[str, float], list[int]]) -> tuple[tuple[RunResult, ...], Comparison]:
    """Judge arms by the numbers of rows that their seeds' models are right on."""
    cells = {(arm, share, seed): said(n, seed) for (arm, share), ns in rights.items() for seed, n in enumerate(ns)}
    runs = tuple(
        run(arm, share, seed, float((p.gold == p.predicted).mean())) for (arm, share, seed), p in cells.items()
    )
    plain = Comparison(("a", "b"), (6, 4), {}, runs, summarise(runs), 0.95, "equal_epochs")
    return runs, replace(plain, **plain.judged(cells, "accuracy", 0.02))


def test_arms_are_compared_with_random_of_the_same_size_and_seed() -> None:
    runs, found = compared(
        {
            ("full", 1.0): [380, 382, 384],
            ("random", 0.5): [300, 302, 304],
            ("stratified_random", 0.5): [300, 302, 304],
            ("hard(vog)", 0.5): [380, 382, 384],
            ("random", 0.2): [200, 202, 204],
        }
    )
    full, random, stratified, hard, smaller = found.summaries
    assert (full.arm, random.arm, hard.arm, smaller.fraction) == ("full", "random", "hard(vog)", 0.2)
    assert full.verdict == "all data"
    assert full.gap_to_full is None
    assert random.verdict == "baseline"
    assert random.gap_to_stratified is None
    assert hard.gap_to_random is not None
    assert hard.gap_to_random.mean == pytest.approx(0.2)
    assert hard.gap_to_full is not None
    assert hard.gap_to_full.mean == pytest.approx(0.0)
    assert hard.verdict == "better than random and stratified random"
    assert stratified.verdict == "equivalent to random"
    assert summarise(runs)[3].verdict == "no predictions stored: means without verdict"
    assert summarise(runs)[3].gap_to_random == Gap(pytest.approx(0.2), approx_nan, approx_nan, 3)


class _Nan:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and math.isnan(other)

    __hash__ = None  # type: ignore[assignment]


approx_nan: Any = _Nan()


@pytest.mark.parametrize(
    ("seeds", "verdict"),
    [
        (1, "one seed: no verdict"),
        (2, "weak evidence: better than random"),
        (3, "better than random"),
    ],
)
def test_the_seeds_say_how_much_a_verdict_weighs(seeds: int, verdict: str) -> None:
    _, found = compared({("random", 0.5): [100] * seeds, ("hard(vog)", 0.5): [390] * seeds})
    assert found.summaries[1].verdict == verdict
    gap = found.summaries[1].gap_to_random
    assert gap is not None
    assert math.isnan(gap.low) == (seeds == 1)


def test_a_comparison_survives_storage() -> None:
    runs, judged = compared({("full", 1.0): [390], ("random", 0.5): [300], ("hard(vog)", 0.5): [310]})
    runs = (replace(runs[0], recall=(1.0, math.nan)), *runs[1:])
    kept = {("random", 0.5): (3, 2)}
    changes = {"runs": runs, "summaries": summarise(runs, judged.judgements), "kept_counts": kept}
    before = replace(judged, **changes, warnings=("careful",), doubts=("untrained",), remarks=("Fixed.",))
    after = Comparison.from_dict(json.loads(json.dumps(before.to_dict(), allow_nan=False)))
    assert after.kept_counts == kept
    assert after.warnings == ("careful",)
    assert math.isnan(after.runs[0].recall[1])
    assert len(after.judgements) > 0
    assert repr(after) == repr(before)
    assert after.findings() == before.findings()


def test_a_comparison_without_judgements_gives_means_without_verdict() -> None:
    _, judged = compared({("full", 1.0): [390, 391], ("random", 0.5): [300, 302], ("hard(vog)", 0.5): [310, 309]})
    found = Comparison.from_dict({**judged.to_dict(), "judgements": [], "remarks": []})
    assert found.summaries[2].verdict == "no predictions stored: means without verdict"
    assert found.summaries[2].accuracy == judged.summaries[2].accuracy
    assert found.findings() == ["No predictions stored: means without verdict."]


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
