"""Comparison of arms (score x policy x fraction x seed): runs, means, differences with intervals, verdicts as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from raysample.core import manifests
from raysample.evaluation import (
    FULL,
    RANDOM,
    TOLERANCE,
    ArmCell,
    Predictions,
    Verdict,
    judge_arms,
    sentences,
)
from raysample.evaluation.arm_summary import ArmSummary, RunResult, mean_and_deviation, summarise
from raysample.evaluation.findings import NO_ARM, main_sentences
from raysample.evaluation.new_texts import NewTexts, on_new_texts
from raysample.evaluation.regimes import changes_at_equal_steps


@dataclass(frozen=True)
class Comparison:
    """The results of a comparison, ready for tables, figures and tracking.

    Attributes:
        labels: class names. class_counts: rows per class in the whole training corpus.
        kept_counts: (arm, fraction) -> rows per class in the sample (of the first seed).
        warnings: sentences on doubts, on the corpora, and on what selections do to the classes.
        levels: names of the levels of a hierarchical label, coarse to fine; the models have one head per level.
        judgements: verdicts per objective and arm, from the predictions; empty if no predictions were stored.
        objective: the objective of the main verdict.
        tolerance: largest difference that counts as equivalent.
        doubts: warnings that invalidate verdicts, such as models that learnt nothing.
        remarks: sentences on the evidence behind the verdict.
        new_texts: the test rows with a new text and the verdicts on them, which are the headline; None if all test
            rows are the headline. All else is about all test rows.
        regime: how long the samples are trained, `equal_epochs` or `equal_steps`.
        equal_steps: the same arms at small fractions, retrained at equal steps, beside a comparison at equal epochs;
            None without them. Its verdicts are families of their own.
        choice_seconds: arm -> seconds that choosing its rows cost: all workers' time of scoring, for every arm that
            reads scores the whole of the table; for `auto` the time of features and races at all fractions. The
            fine-tuning that is scored and preparing the scoring are not in it. Arms that read nothing, or whose cost
            was not stored, are left out.
    """

    labels: tuple[str, ...]
    class_counts: tuple[int, ...]
    kept_counts: dict[tuple[str, float], tuple[int, ...]]
    runs: tuple[RunResult, ...]
    summaries: tuple[ArmSummary, ...]
    confidence: float
    regime: str
    warnings: tuple[str, ...] = field(default=())
    levels: tuple[str, ...] = ()
    judgements: tuple[Verdict, ...] = ()
    objective: str = "accuracy"
    tolerance: float = TOLERANCE
    doubts: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    new_texts: NewTexts | None = None
    equal_steps: Comparison | None = None
    choice_seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data, NaN as null; the summaries are included for readers, though derived from the runs."""
        kept = [{"arm": arm, "fraction": fraction, "kept": list(n)} for (arm, fraction), n in self.kept_counts.items()]
        beside = None if self.equal_steps is None else self.equal_steps.to_dict()
        data: dict[str, Any] = _without_nan({**asdict(replace(self, equal_steps=None)), "kept_counts": kept})
        return {**data, "equal_steps": beside}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Comparison:
        """Return a comparison from the data of `to_dict`; the summaries are computed again from the runs."""
        runs = manifests.checked(
            tuple[RunResult, ...],
            [
                {**run, "recall": [math.nan if value is None else value for value in run["recall"]]}
                for run in data["runs"]
            ],
        )
        kept = {(row["arm"], row["fraction"]): tuple(row["kept"]) for row in data["kept_counts"]}
        judgements = tuple(Verdict.from_dict(one) for one in data["judgements"])
        objective = data["objective"]
        return Comparison(
            tuple(data["labels"]),
            tuple(data["class_counts"]),
            kept,
            runs,
            summarise(runs, judgements, objective),
            data["confidence"],
            data["regime"],
            tuple(data["warnings"]),
            tuple(data["levels"]),
            judgements,
            objective,
            data["tolerance"],
            tuple(data["doubts"]),
            tuple(data["remarks"]),
            None if data["new_texts"] is None else NewTexts.from_dict(data["new_texts"]),
            None if data["equal_steps"] is None else manifests.checked_again(Comparison.from_dict(data["equal_steps"])),
            data["choice_seconds"],
        )

    @staticmethod
    def load(uri: str) -> Comparison:
        """Read the comparison at `uri`; raises StorageError if missing or damaged."""
        data = manifests.mapping(uri)
        with manifests.damaged(uri):
            return manifests.checked_again(Comparison.from_dict(data))

    def judged(self, predictions: Mapping[ArmCell, Predictions], objective: str, tolerance: float) -> dict[str, Any]:
        """Return the fields of a comparison that depend on predictions: judgements, summaries and their settings."""
        verdicts = judge_arms(predictions, tolerance, self.confidence)
        fields = {"judgements": verdicts, "objective": objective, "tolerance": tolerance}
        new = None if self.new_texts is None else self.new_texts.judged(predictions, tolerance, self.confidence)
        return {**fields, "summaries": summarise(self.runs, verdicts, objective), "new_texts": new}

    def headline(self) -> Comparison:
        """Return the comparison by which arms are judged first: that on new texts, or this one without them.

        The comparison at equal steps is left out: it has a headline of its own.
        """
        if self.new_texts is None:
            return self if self.equal_steps is None else replace(self, equal_steps=None)
        runs, verdicts = tuple(map(on_new_texts, self.runs)), self.new_texts.judgements
        summaries = summarise(runs, verdicts, self.objective)
        return replace(self, runs=runs, judgements=verdicts, summaries=summaries, new_texts=None, equal_steps=None)

    def findings(self) -> list[str]:
        """Return the findings as sentences: the main verdict, the other objectives, the detectable difference.

        With new texts these are the findings on them; the main verdict on all test rows follows. All are at the first
        regime; with a second one, a sentence says what is different at equal steps.
        """
        if all(summary.arm in (FULL, RANDOM) for summary in self.summaries):
            return [NO_ARM]
        how = (self.objective, self.tolerance, self.confidence)
        beside = [*self._at_equal_steps(), *self.remarks]
        if self.new_texts is None:
            return [*sentences(self.judgements, *how), *beside]
        first, *others = sentences(self.new_texts.judgements, *how)
        scope, rows = self.new_texts.scope, f"On all {self.new_texts.test_rows:,} test rows"
        on_all = [f"{rows}: {sentence}" for sentence in main_sentences(self.judgements, *how)]
        return [f"{scope[0].upper()}{scope[1:]}: {first}", *others, *on_all, *beside]

    def _at_equal_steps(self) -> list[str]:
        """Return the sentence on what changes at equal steps, by the verdicts of both headlines; none without them."""
        if self.equal_steps is None:
            return []
        epochs, steps = self.headline().judgements, self.equal_steps.headline().judgements
        return [changes_at_equal_steps(epochs, steps, self.objective)]

    def level_results(self) -> list[tuple[ArmSummary, list[tuple[str, tuple[float, float]]]]]:
        """Return for each summary the metrics of its runs at every level: (name, (mean, standard deviation))."""
        names = [f"{level}_{metric}" for level in self.levels for metric in ("accuracy", "macro_f1")]
        result = []
        for summary in self.summaries if self.levels else ():
            runs = [run.metrics for run in self.runs if (run.arm, run.fraction) == (summary.arm, summary.fraction)]
            means = [
                (name, mean_and_deviation([metrics[name] for metrics in runs])) for name in [*names, "exact_match"]
            ]
            result.append((summary, means))
        return result


def _without_nan(value: Any) -> Any:
    """Return nested data with NaN replaced by None, for JSON."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
