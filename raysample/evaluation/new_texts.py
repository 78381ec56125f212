"""Results on new texts: the test rows whose text no training or validation row has, nor nearly.

A model may have seen the other test rows, so the results on new texts are the headline of a comparison wherever there
are enough of them; those on all test rows stand beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from raysample.evaluation.arm_summary import RunResult
from raysample.evaluation.arms import ArmCell
from raysample.evaluation.predictions import Predictions
from raysample.evaluation.rarity import NEW_TEXT
from raysample.evaluation.verdicts import Verdict, judge_arms

MIN_NEW_ROWS = 50
"""Smallest number of test rows with a new text that a headline rests on."""
NEW_METRICS = ("accuracy", "macro_f1", "worst_class_recall")
"""Metrics that a run has on new texts, too: `new_text_accuracy` and so on."""


@dataclass(frozen=True)
class NewTexts:
    """The test rows with a new text.

    Attributes:
        rows: their number, at least `MIN_NEW_ROWS`. test_rows: number of all test rows.
        judgements: verdicts on these rows alone; empty if no predictions were stored.
    """

    rows: int
    test_rows: int
    judgements: tuple[Verdict, ...] = ()

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> NewTexts:
        """Return the result of `asdict`, in which NaN is None."""
        return NewTexts(data["rows"], data["test_rows"], tuple(Verdict.from_dict(one) for one in data["judgements"]))

    def judged(self, cells: Mapping[ArmCell, Predictions], tolerance: float, confidence: float) -> NewTexts:
        """Return these rows with the verdicts on them; without any if a run has no predictions that tell them."""
        if not cells or any(NEW_TEXT not in run.masks for run in cells.values()):
            return replace(self, judgements=())
        inside = {cell: run.on(run.masks[NEW_TEXT]) for cell, run in cells.items()}
        return replace(self, judgements=judge_arms(inside, tolerance, confidence))

    @property
    def scope(self) -> str:
        """The rows as words for a heading."""
        return f"on new texts ({self.rows:,} of {self.test_rows:,} test rows)"


def find_new_texts(counts: Mapping[str, int]) -> NewTexts | None:
    """Return the test rows with a new text from the counts of an evaluation; None unless they are a headline.

    They are none where all test rows are new, for the results on all rows are then those on new texts, and where fewer
    than `MIN_NEW_ROWS` are, or nobody counted.
    """
    rows, new = counts.get("rows", 0), counts.get(f"{NEW_TEXT}_rows", 0)
    return NewTexts(new, rows) if MIN_NEW_ROWS <= new < rows else None


def few_new_texts(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return a warning if too few test rows have a new text for a headline."""
    rows, new = counts.get("rows", 0), counts.get(f"{NEW_TEXT}_rows")
    if new is None or new == rows or new >= MIN_NEW_ROWS:
        return ()
    return (
        f"{new:,} of {rows:,} test rows have a new text, too few to judge by (fewer than {MIN_NEW_ROWS}): the results "
        "are on all test rows, most of which the models may know from training",
    )


def on_new_texts(run: RunResult) -> RunResult:
    """Return a run with its metrics on new texts under the plain names, and no others."""
    metrics = {name: run.metrics[f"{NEW_TEXT}_{name}"] for name in NEW_METRICS}
    return replace(run, metrics=metrics)
