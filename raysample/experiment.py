"""Arms (score x policy x fraction x seed) -> runs -> paired statistics and a verdict in words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from scipy import stats

FULL = "full"
RANDOM = "random"
STRATIFIED = "stratified_random"

WIPED_OUT = 0.25
TURNED_OVER = 0.25
TAILS = ("rare_class_accuracy", "rare_content_accuracy")
"""Metrics of rare rows, which the test of a run may or may not have."""


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
    """Mean of paired differences (same seed) with its Student-t interval; the interval is NaN for a single seed."""

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

    `tails` has the metrics of `TAILS` that every run of the arm has.
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
    macro_f1_gap_to_random: Gap | None
    verdict: str
    tails: dict[str, Tail] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """What a comparison found, ready for tables, figures and tracking.

    Attributes:
        labels: class names. class_counts: rows per class in the whole training corpus.
        kept_counts: (arm, fraction) -> rows per class in the sample (of the first seed).
        warnings: what the selections do to the classes, in words.
        levels: names of the levels of a hierarchical label, coarse to fine, that the models have a head for each.
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

    def plain(self) -> dict[str, Any]:
        """Return JSON-able data: the runs and what is not derived from them, and the summaries for readers."""
        kept = [{"arm": arm, "fraction": fraction, "kept": list(n)} for (arm, fraction), n in self.kept_counts.items()]
        data: dict[str, Any] = _without_nan({**asdict(self), "kept_counts": kept})
        return data

    @staticmethod
    def of(data: dict[str, Any]) -> Comparison:
        """Read back what `plain` wrote; the summaries are computed anew from the runs."""
        runs = tuple(
            RunResult(**{**run, "recall": tuple(math.nan if value is None else value for value in run["recall"])})
            for run in data["runs"]
        )
        kept = {(row["arm"], row["fraction"]): tuple(row["kept"]) for row in data["kept_counts"]}
        return Comparison(
            tuple(data["labels"]),
            tuple(data["class_counts"]),
            kept,
            runs,
            summarise(runs, data["confidence"]),
            data["confidence"],
            data["regime"],
            tuple(data["warnings"]),
            tuple(data.get("levels", ())),
        )

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


def paired_gap(ours: Sequence[float], theirs: Sequence[float], confidence: float) -> Gap:
    """Mean of d_i = ours_i - theirs_i with the interval mean ± t(n-1) · s_d / √n (Student, two-sided)."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean, n = statistics.fmean(differences), len(differences)
    if n < 2:
        return Gap(mean, math.nan, math.nan, n)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * statistics.stdev(differences) / math.sqrt(n)
    return Gap(mean, mean - half, mean + half, n)


def verdict(gap: Gap | None) -> str:
    """Say in words what a gap to random shows."""
    if gap is None:
        return "baseline"
    if math.isnan(gap.low):
        return "one seed: no verdict"
    if gap.low > 0:
        return "better than random"
    return "worse than random" if gap.high < 0 else "not distinguishable from random"


def summarise(runs: Iterable[RunResult], confidence: float) -> tuple[ArmSummary, ...]:
    """Summarise runs by (arm, fraction): `full` first, then by falling fraction in the order the arms came."""
    cells: dict[tuple[str, float], list[RunResult]] = {}
    for run in runs:
        cells.setdefault((run.arm, run.fraction), []).append(run)
    order = sorted(cells, key=lambda cell: (cell[0] != FULL, -cell[1]))
    return tuple(_summary(cells, cell, confidence) for cell in order)


def _summary(cells: dict[tuple[str, float], list[RunResult]], cell: tuple[str, float], confidence: float) -> ArmSummary:
    arm, fraction = cell
    runs = cells[cell]
    accuracy, macro_f1 = ([run.metrics[name] for run in runs] for name in ("accuracy", "macro_f1"))
    baseline = None if arm in (FULL, RANDOM) else cells.get((RANDOM, fraction))
    full = None if arm == FULL else next((c for key, c in cells.items() if key[0] == FULL), None)
    to_random = _gap(runs, baseline, "accuracy", confidence)
    return ArmSummary(
        arm=arm,
        fraction=fraction,
        kept=round(statistics.fmean(run.kept for run in runs)),
        seeds=len(runs),
        accuracy=_spread(accuracy),
        macro_f1=_spread(macro_f1),
        worst_class_recall=statistics.fmean(run.metrics["worst_class_recall"] for run in runs),
        recall=tuple(statistics.fmean(values) for values in zip(*(run.recall for run in runs), strict=True)),
        gap_to_full=_gap(runs, full, "accuracy", confidence),
        gap_to_random=to_random,
        macro_f1_gap_to_random=_gap(runs, baseline, "macro_f1", confidence),
        verdict="all data" if arm == FULL else verdict(to_random),
        tails={
            name: Tail(_spread([run.metrics[name] for run in runs]), _gap(runs, baseline, name, confidence))
            for name in TAILS
            if all(name in run.metrics for run in runs)
        },
    )


def _gap(runs: list[RunResult], others: list[RunResult] | None, metric: str, confidence: float) -> Gap | None:
    by_seed = {other.seed: other.metrics[metric] for other in others or [] if metric in other.metrics}
    pairs = [(run.metrics[metric], by_seed[run.seed]) for run in runs if run.seed in by_seed]
    return paired_gap([p[0] for p in pairs], [p[1] for p in pairs], confidence) if pairs else None


def _spread(values: list[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def class_shift(before: Sequence[int], after: Sequence[int]) -> float:
    """Return the total-variation distance of two class mixes, ½ Σ_c |p_c - q_c|: 0 is the same mix, 1 is disjoint."""
    return sum(abs(n / sum(before) - kept / sum(after)) for n, kept in zip(before, after, strict=True)) / 2


def class_warnings(
    labels: Sequence[str], before: Sequence[int], after: dict[tuple[str, float], tuple[int, ...]]
) -> tuple[str, ...]:
    """Name every selection that empties classes, nearly wipes them out, or turns the class mix over.

    A class is emptied where a row of it was to be expected and none is left. One of five or more rows is nearly wiped
    out when less than a quarter of the share that random would keep is left; the mix is turned over from a class shift
    of a quarter on.
    """
    found = []
    for (arm, fraction), kept in after.items():
        gone = [c for c, n in enumerate(before) if fraction * n >= 1 and not kept[c]]
        lost = [c for c, n in enumerate(before) if n >= 5 and 0 < kept[c] < WIPED_OUT * fraction * n]
        shift = class_shift(before, kept)
        told = [f"turns the class mix over (class shift {shift:.2f})"] if shift >= TURNED_OVER else []
        if gone:
            told.append(f"leaves no row of {_listed(gone, labels, before, kept)}")
        if lost:
            told.append(f"nearly wipes out {_listed(lost, labels, before, kept)}")
        if told:
            found.append(f"{arm} at {fraction:.0%} {'; it '.join(told)}")
    return tuple(found)


def _listed(classes: Sequence[int], labels: Sequence[str], before: Sequence[int], kept: Sequence[int]) -> str:
    """Count classes and name the largest three."""
    largest = sorted(classes, key=lambda c: -before[c])[:3]
    names = ", ".join(f"{labels[c]} ({kept[c]:,} of {before[c]:,} rows left)" for c in largest)
    more = f" and {len(classes) - 3} more" if len(classes) > 3 else ""
    return f"{len(classes)} of {len(labels)} classes: {names}{more}"
