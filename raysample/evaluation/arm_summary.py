"""The results of single runs, and their summary per arm and fraction: means, gaps to the baselines, a verdict."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from raysample.evaluation import FULL, RANDOM, STRATIFIED, Verdict
from raysample.evaluation.findings import NO_PREDICTIONS, verdict

TAIL_METRICS = ("rare_class_accuracy", "rare_content_accuracy")
"""Metrics of rare rows, present only if the test has such rows."""
_METRICS = {"worst_group": ("worst_group_recall", "worst_class_recall")}


@dataclass(frozen=True)
class RunResult:
    """One training run, its test results, and its results on validation rows.

    Attributes:
        arm, fraction, seed: the cell; the full data set is arm `full` with fraction 1.
        kept: rows trained on.
        steps: optimiser steps.
        metrics: those of the `Evaluation`, and `train_seconds`.
        recall: per class, in label order; NaN where the test has no row of the class.
        validation: metrics on the validation rows; empty without `corpus.validation`. What chooses a share reads them.
    """

    arm: str
    fraction: float
    seed: int
    kept: int
    steps: int
    metrics: dict[str, float]
    recall: tuple[float, ...]
    validation: dict[str, float] = field(default_factory=dict)


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
            accuracy=mean_and_deviation(accuracy),
            macro_f1=mean_and_deviation(macro_f1),
            worst_class_recall=statistics.fmean(run.metrics["worst_class_recall"] for run in runs),
            recall=tuple(statistics.fmean(values) for values in zip(*(run.recall for run in runs), strict=True)),
            gap_to_full=self._gap(cell, FULL, self.objective),
            gap_to_random=self._gap(cell, RANDOM, self.objective),
            gap_to_stratified=self._gap(cell, STRATIFIED, self.objective),
            verdict=self._verdict(cell),
            tails={
                name: Tail(mean_and_deviation([run.metrics[name] for run in runs]), self._gap(cell, RANDOM, name))
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


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and sample standard deviation, NaN for a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan
