"""Comparison of arms (score x policy x fraction x seed): runs, means, differences with intervals, verdicts as text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from raysample.core import manifests
from raysample.evaluation import (
    FULL,
    RANDOM,
    STRATIFIED,
    TOLERANCE,
    ArmCell,
    Predictions,
    Verdict,
    judge_arms,
    sentences,
)
from raysample.evaluation.class_balance import class_shift, class_warnings
from raysample.evaluation.findings import NO_ARM, NO_PREDICTIONS, verdict

__all__ = [
    "FULL",
    "RANDOM",
    "STRATIFIED",
    "TAIL_METRICS",
    "ArmSummary",
    "Comparison",
    "Gap",
    "RunResult",
    "Tail",
    "class_shift",
    "class_warnings",
    "summarise",
]

TAIL_METRICS = ("rare_class_accuracy", "rare_content_accuracy")
"""Metrics of rare rows, present only if the test has such rows."""
_METRICS = {"worst_group": ("worst_group_recall", "worst_class_recall")}


@dataclass(frozen=True)
class RunResult:
    """One training run and its test results.

    Attributes:
        arm, fraction, seed: the cell; the full data set is arm `full` with fraction 1.
        kept: rows trained on.
        steps: optimiser steps.
        metrics: those of the `Evaluation`, and `train_seconds`.
        recall: per class, in label order; NaN where the test has no row of the class.
    """

    arm: str
    fraction: float
    seed: int
    kept: int
    steps: int
    metrics: dict[str, float]
    recall: tuple[float, ...]


@dataclass(frozen=True)
class Gap:
    """Mean difference to another arm over `pairs` seeds; the interval is NaN for one seed or without predictions."""

    mean: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class Tail:
    """A metric of rare rows over an arm's seeds: (mean, sample standard deviation), and the gap to random."""

    mean: tuple[float, float]
    gap_to_random: Gap | None


@dataclass(frozen=True)
class ArmSummary:
    """One arm at one fraction over its seeds: (mean, standard deviation) of metrics, gaps, and a verdict as text.

    Gaps and verdict refer to the comparison's objective. `tails` holds the `TAIL_METRICS` that every run has.
    """

    arm: str
    fraction: float
    kept: int
    seeds: int
    accuracy: tuple[float, float]
    macro_f1: tuple[float, float]
    worst_class_recall: float
    recall: tuple[float, ...]
    gap_to_full: Gap | None
    gap_to_random: Gap | None
    gap_to_stratified: Gap | None
    verdict: str
    tails: dict[str, Tail] = field(default_factory=dict)


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

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data, NaN as null; the summaries are included for readers, though derived from the runs."""
        kept = [{"arm": arm, "fraction": fraction, "kept": list(n)} for (arm, fraction), n in self.kept_counts.items()]
        data: dict[str, Any] = _without_nan({**asdict(self), "kept_counts": kept})
        return data

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
        return {**fields, "summaries": summarise(self.runs, verdicts, objective)}

    def findings(self) -> list[str]:
        """Return the findings as sentences: the main verdict, the other objectives, the detectable difference."""
        if all(summary.arm in (FULL, RANDOM) for summary in self.summaries):
            return [NO_ARM]
        return [*sentences(self.judgements, self.objective, self.tolerance, self.confidence), *self.remarks]

    def level_results(self) -> list[tuple[ArmSummary, list[tuple[str, tuple[float, float]]]]]:
        """Return for each summary the metrics of its runs at every level: (name, (mean, standard deviation))."""
        names = [f"{level}_{metric}" for level in self.levels for metric in ("accuracy", "macro_f1")]
        result = []
        for summary in self.summaries if self.levels else ():
            runs = [run.metrics for run in self.runs if (run.arm, run.fraction) == (summary.arm, summary.fraction)]
            means = [
                (name, _mean_and_deviation([metrics[name] for metrics in runs])) for name in [*names, "exact_match"]
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


def summarise(
    runs: Iterable[RunResult], judgements: Iterable[Verdict] = (), objective: str = "accuracy"
) -> tuple[ArmSummary, ...]:
    """Summarise runs by (arm, fraction): `full` first, then by falling fraction, arms in order of first appearance.

    Arms without a judgement have gaps without interval, and no verdict.
    """
    cells: dict[tuple[str, float], list[RunResult]] = {}
    for run in runs:
        cells.setdefault((run.arm, run.fraction), []).append(run)
    judged = _Judged(cells, {(j.objective, j.arm, j.fraction, j.baseline): j for j in judgements}, objective)
    order = sorted(cells, key=lambda cell: (cell[0] != FULL, -cell[1]))
    return tuple(judged.summary(cell) for cell in order)


@dataclass(frozen=True)
class _Judged:
    """Runs by (arm, fraction), and verdicts by (objective, arm, fraction, baseline)."""

    cells: dict[tuple[str, float], list[RunResult]]
    judgements: Mapping[tuple[str, str, float, str], Verdict]
    objective: str

    def summary(self, cell: tuple[str, float]) -> ArmSummary:
        """Return the summary of one arm at one fraction."""
        arm, fraction = cell
        runs = self.cells[cell]
        accuracy, macro_f1 = ([run.metrics[name] for run in runs] for name in ("accuracy", "macro_f1"))
        return ArmSummary(
            arm=arm,
            fraction=fraction,
            kept=round(statistics.fmean(run.kept for run in runs)),
            seeds=len(runs),
            accuracy=_mean_and_deviation(accuracy),
            macro_f1=_mean_and_deviation(macro_f1),
            worst_class_recall=statistics.fmean(run.metrics["worst_class_recall"] for run in runs),
            recall=tuple(statistics.fmean(values) for values in zip(*(run.recall for run in runs), strict=True)),
            gap_to_full=self._gap(cell, FULL, self.objective),
            gap_to_random=self._gap(cell, RANDOM, self.objective),
            gap_to_stratified=self._gap(cell, STRATIFIED, self.objective),
            verdict=self._verdict(cell),
            tails={
                name: Tail(_mean_and_deviation([run.metrics[name] for run in runs]), self._gap(cell, RANDOM, name))
                for name in TAIL_METRICS
                if all(name in run.metrics for run in runs)
            },
        )

    def _verdict(self, cell: tuple[str, float]) -> str:
        """Return the verdict of one cell against both baselines, as text."""
        arm, fraction = cell
        if arm in (FULL, RANDOM):
            return "all data" if arm == FULL else "baseline"
        found = [self.judgements.get((self.objective, arm, fraction, baseline)) for baseline in (RANDOM, STRATIFIED)]
        present = [one for one in found if one is not None]
        if not present and not any(baseline == (RANDOM, fraction) for baseline in self.cells):
            return "no baseline"
        return verdict(present) if present else NO_PREDICTIONS

    def _gap(self, cell: tuple[str, float], baseline: str, objective: str) -> Gap | None:
        """Return the gap of a cell to a baseline: from the verdicts, else the mean difference over common seeds."""
        arm, fraction = cell
        if arm in (FULL, baseline) or (arm == RANDOM and baseline == STRATIFIED):
            return None
        found = self.judgements.get((objective.removesuffix("_accuracy"), arm, fraction, baseline))
        if found is not None:
            return Gap(found.mean, found.low, found.high, found.pairs)
        at = next((key for key in self.cells if key[0] == FULL), None) if baseline == FULL else (baseline, fraction)
        others = [] if at is None else self.cells.get(at, [])
        baseline_values = {run.seed: _metric(run, objective) for run in others}
        differences = [
            _metric(run, objective) - baseline_values[run.seed]
            for run in self.cells[cell]
            if run.seed in baseline_values
        ]
        differences = [one for one in differences if not math.isnan(one)]
        return Gap(statistics.fmean(differences), math.nan, math.nan, len(differences)) if differences else None


def _metric(run: RunResult, objective: str) -> float:
    """Return a run's value of an objective, NaN if it has none."""
    names = _METRICS.get(objective, (objective,))
    return next((run.metrics[name] for name in names if name in run.metrics), math.nan)


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and sample standard deviation, NaN for a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan
