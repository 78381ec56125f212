"""Arms (score x policy x fraction x seed) -> runs -> means, differences with intervals, and verdicts in words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from raysample.core import manifests
from raysample.evaluation import FULL, RANDOM, STRATIFIED, TOLERANCE, Cell, Predictions, Verdict, judge_arms, sentences
from raysample.evaluation.class_balance import class_shift, class_warnings
from raysample.evaluation.findings import NO_ARM, NO_PREDICTIONS, verdict

__all__ = [
    "FULL",
    "RANDOM",
    "STRATIFIED",
    "TAILS",
    "ArmSummary",
    "Comparison",
    "Gap",
    "RunResult",
    "Tail",
    "class_shift",
    "class_warnings",
    "summarise",
]

TAILS = ("rare_class_accuracy", "rare_content_accuracy")
"""Metrics of rare rows, which the test of a run may or may not have."""
_METRICS = {"worst_group": ("worst_group_recall", "worst_class_recall")}


@dataclass(frozen=True)
class RunResult:
    """One training and its test.

    Attributes:
        arm, fraction, seed: which cell; the full data set is arm `full` with fraction 1.
        kept: rows trained on; `steps`: optimiser steps taken.
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
    """Mean difference to another arm with its interval, NaN for a single seed and without predictions."""

    mean: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class Tail:
    """A metric of rare rows over an arm's seeds: mean and sample standard deviation, and the gap to random."""

    mean: tuple[float, float]
    gap_to_random: Gap | None


@dataclass(frozen=True)
class ArmSummary:
    """One arm at one fraction over its seeds: mean and sample standard deviation, gaps, and a verdict in words.

    Gaps and verdict are those of the objective that the comparison is judged by. `tails` has the metrics of `TAILS`
    that every run of the arm has.
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
    """What a comparison found, ready for tables, figures and tracking.

    Attributes:
        labels: class names. class_counts: rows per class in the whole training corpus.
        kept_counts: (arm, fraction) -> rows per class in the sample (of the first seed).
        warnings: what a reader must know: what is doubtful, of the corpora, and what selections do to the classes.
        levels: names of the levels of a hierarchical label, coarse to fine, that the models have a head for each.
        judgements: what every objective says of every arm, from the predictions; empty where none were stored.
        objective: what the comparison is judged by first. tolerance: the difference that counts as none.
        doubts: the warnings that come before any verdict: models that learnt nothing, and what else makes one empty.
        remarks: what the verdict rests on, in sentences.
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
        """Return JSON-able data: the runs and what is not derived from them, and the summaries for readers."""
        kept = [{"arm": arm, "fraction": fraction, "kept": list(n)} for (arm, fraction), n in self.kept_counts.items()]
        data: dict[str, Any] = _without_nan({**asdict(self), "kept_counts": kept})
        return data

    @staticmethod
    def of(data: dict[str, Any]) -> Comparison:
        """Read back what `to_dict` wrote, also an earlier version; the summaries are computed anew from the runs."""
        runs = manifests.checked(
            tuple[RunResult, ...],
            [
                {**run, "recall": [math.nan if value is None else value for value in run["recall"]]}
                for run in data["runs"]
            ],
        )
        kept = {(row["arm"], row["fraction"]): tuple(row["kept"]) for row in data["kept_counts"]}
        judgements = tuple(Verdict.of(one) for one in data.get("judgements", ()))
        objective = data.get("objective", "accuracy")
        return Comparison(
            tuple(data["labels"]),
            tuple(data["class_counts"]),
            kept,
            runs,
            summarise(runs, judgements, objective),
            data["confidence"],
            data["regime"],
            tuple(data["warnings"]),
            tuple(data.get("levels", ())),
            judgements,
            objective,
            data.get("tolerance", TOLERANCE),
            tuple(data.get("doubts", ())),
            tuple(data.get("remarks", ())),
        )

    @staticmethod
    def load(uri: str) -> Comparison:
        """Read the comparison that lies at `uri`; raises StorageError where it is missing or damaged."""
        data = manifests.mapping(uri)
        with manifests.damaged(uri):
            return manifests.checked_again(Comparison.of(data))

    def judged(self, predictions: Mapping[Cell, Predictions], objective: str, tolerance: float) -> dict[str, Any]:
        """Return what predictions add to a comparison: the fields that depend on them."""
        found = judge_arms(predictions, tolerance, self.confidence)
        made = {"judgements": found, "objective": objective, "tolerance": tolerance}
        return {**made, "summaries": summarise(self.runs, found, objective)}

    def findings(self) -> list[str]:
        """Say what was found: the verdict of the objective first, the others beside it, and what could be seen."""
        if all(summary.arm in (FULL, RANDOM) for summary in self.summaries):
            return [NO_ARM]
        return [*sentences(self.judgements, self.objective, self.tolerance, self.confidence), *self.remarks]

    def level_results(self) -> list[tuple[ArmSummary, list[tuple[str, tuple[float, float]]]]]:
        """Return for each summary what its runs came to at every level: names, and means with standard deviations."""
        names = [f"{level}_{metric}" for level in self.levels for metric in ("accuracy", "macro_f1")]
        found = []
        for summary in self.summaries if self.levels else ():
            runs = [run.metrics for run in self.runs if (run.arm, run.fraction) == (summary.arm, summary.fraction)]
            means = [(name, _spread([metrics[name] for metrics in runs])) for name in [*names, "exact_match"]]
            found.append((summary, means))
        return found


def _without_nan(value: Any) -> Any:
    """Replace NaN by None, which JSON can hold."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def summarise(
    runs: Iterable[RunResult], judgements: Iterable[Verdict] = (), objective: str = "accuracy"
) -> tuple[ArmSummary, ...]:
    """Summarise runs by (arm, fraction): `full` first, then by falling fraction in the order the arms came.

    Without a judgement of an arm its gaps have no interval, and there is no verdict.
    """
    cells: dict[tuple[str, float], list[RunResult]] = {}
    for run in runs:
        cells.setdefault((run.arm, run.fraction), []).append(run)
    found = _Judged(cells, {(j.objective, j.arm, j.fraction, j.baseline): j for j in judgements}, objective)
    order = sorted(cells, key=lambda cell: (cell[0] != FULL, -cell[1]))
    return tuple(found.summary(cell) for cell in order)


@dataclass(frozen=True)
class _Judged:
    """Runs by arm and fraction, with what predictions say of them, by objective, arm, fraction and baseline."""

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
            accuracy=_spread(accuracy),
            macro_f1=_spread(macro_f1),
            worst_class_recall=statistics.fmean(run.metrics["worst_class_recall"] for run in runs),
            recall=tuple(statistics.fmean(values) for values in zip(*(run.recall for run in runs), strict=True)),
            gap_to_full=self._gap(cell, FULL, self.objective),
            gap_to_random=self._gap(cell, RANDOM, self.objective),
            gap_to_stratified=self._gap(cell, STRATIFIED, self.objective),
            verdict=self._verdict(cell),
            tails={
                name: Tail(_spread([run.metrics[name] for run in runs]), self._gap(cell, RANDOM, name))
                for name in TAILS
                if all(name in run.metrics for run in runs)
            },
        )

    def _verdict(self, cell: tuple[str, float]) -> str:
        arm, fraction = cell
        if arm in (FULL, RANDOM):
            return "all data" if arm == FULL else "baseline"
        found = [self.judgements.get((self.objective, arm, fraction, baseline)) for baseline in (RANDOM, STRATIFIED)]
        there = [one for one in found if one is not None]
        if not there and not any(baseline == (RANDOM, fraction) for baseline in self.cells):
            return "no baseline"
        return verdict(there) if there else NO_PREDICTIONS

    def _gap(self, cell: tuple[str, float], baseline: str, objective: str) -> Gap | None:
        arm, fraction = cell
        if arm in (FULL, baseline) or (arm == RANDOM and baseline == STRATIFIED):
            return None
        found = self.judgements.get((objective.removesuffix("_accuracy"), arm, fraction, baseline))
        if found is not None:
            return Gap(found.mean, found.low, found.high, found.pairs)
        at = next((key for key in self.cells if key[0] == FULL), None) if baseline == FULL else (baseline, fraction)
        others = [] if at is None else self.cells.get(at, [])
        theirs = {run.seed: _metric(run, objective) for run in others}
        apart = [_metric(run, objective) - theirs[run.seed] for run in self.cells[cell] if run.seed in theirs]
        apart = [one for one in apart if not math.isnan(one)]
        return Gap(statistics.fmean(apart), math.nan, math.nan, len(apart)) if apart else None


def _metric(run: RunResult, objective: str) -> float:
    names = _METRICS.get(objective, (objective,))
    return next((run.metrics[name] for name in names if name in run.metrics), math.nan)


def _spread(values: Sequence[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan
