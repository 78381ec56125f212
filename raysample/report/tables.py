"""The report's tables: results, class shares, recall per class, rank correlations; values and shades of cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysample.core.arrays import FloatArray
from raysample.evaluation import FULL
from raysample.evaluation.arm_summary import ArmSummary
from raysample.evaluation.comparison import Comparison
from raysample.report.formatting import DASH, clean, duration, format_interval, format_mean_std, percent, share, signed
from raysample.report.headline import tone

SHARE_CLASSES = 24
LABEL_LIMIT = 80
RECALL_CLASSES = 12
_RATIO_STEPS = (1.1, 1.5, 2.0, 4.0)
_RECALL_STEPS = (0.005, 0.02, 0.05, 0.15)
_RHO_STEPS = (0.2, 0.4, 0.6, 0.8)
_MARKS = {
    "better": "▲",
    "worse": "▼",
    "equivalent": "≈",
    "undecided": "?",
    "one": "?",
    "no": "?",
    "baseline": "•",
    "all": "■",
}


@dataclass(frozen=True)
class Cell:
    """A value with a shade from -4 (much less) to 4 (much more); 0 is unshaded."""

    text: str
    shade: int = 0


@dataclass(frozen=True)
class Heat:
    """A shaded table: column heads, and rows of a name, plain cells and shaded cells."""

    title: str
    plain_heads: tuple[str, ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...], tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class ResultRow:
    """One arm at one fraction in the results table."""

    arm: str
    fraction: str
    kept: str
    choice: str
    accuracy: str
    macro_f1: str
    worst: str
    to_full: tuple[str, str] | None
    to_random: tuple[str, str] | None
    to_stratified: tuple[str, str] | None
    mark: str
    tone: str
    verdict: str
    starts_group: bool


def results(comparison: Comparison) -> tuple[ResultRow, ...]:
    """Return the rows of the results table in the order of the summaries."""
    rows, before = [], None
    for summary in comparison.summaries:
        seconds = comparison.choice_seconds.get(summary.arm)
        rows.append(_result(summary, DASH if seconds is None else duration(seconds), summary.fraction != before))
        before = summary.fraction
    return tuple(rows)


def seeds(comparison: Comparison) -> str:
    """Return the number of seeds of the rows as text: `5 seeds`, `1 seed`, `2 to 5 seeds`."""
    counts = sorted({s.seeds for s in comparison.summaries}) or [0]
    said = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{said} seed{'' if counts[-1] == 1 else 's'}"


def _result(summary: ArmSummary, choice: str, starts_group: bool) -> ResultRow:
    """Return one row of the results table; `choice`: what choosing cost."""
    word = tone(summary.verdict)
    full, random, stratified = (
        None if gap is None else (signed(gap.mean), format_interval(gap))
        for gap in (summary.gap_to_full, summary.gap_to_random, summary.gap_to_stratified)
    )
    return ResultRow(
        arm=clean(summary.arm),
        fraction=share(summary.fraction),
        kept=f"{summary.kept:,}",
        choice=choice,
        accuracy=format_mean_std(summary.accuracy),
        macro_f1=format_mean_std(summary.macro_f1),
        worst=percent(summary.worst_class_recall, 1),
        to_full=full,
        to_random=random,
        to_stratified=stratified,
        mark=_MARKS.get(word, DASH),
        tone=word,
        verdict=summary.verdict,
        starts_group=starts_group,
    )


def level_table(comparison: Comparison) -> Heat | None:
    """Return the results at every level of a hierarchical label, mean ± standard deviation; None for flat labels."""
    found = comparison.level_results()
    if not found:
        return None
    heads = tuple(clean(name.replace("_", " ").replace("macro f1", "macro-F1")) for name, _ in found[0][1])
    rows = tuple(
        (clean(row.arm), (share(row.fraction),), tuple(Cell(format_mean_std(value)) for _, value in figures))
        for row, figures in found
    )
    return Heat("Every level", ("kept",), heads, rows)


def fractions(comparison: Comparison) -> list[float]:
    """Return the fractions that arms keep, largest first."""
    return sorted({s.fraction for s in comparison.summaries if s.arm != FULL}, reverse=True)


def shade(value: float, steps: Sequence[float]) -> int:
    """Return how many steps |value| reaches, with the sign of the value; 0 for NaN."""
    return 0 if math.isnan(value) else int(math.copysign(sum(abs(value) >= s for s in steps), value))


def share_tables(comparison: Comparison) -> list[Heat]:
    """Return class shares before and after, one table per fraction, shaded by the log ratio after / before.

    The last row is the total variation distance of the class mixes, ½ Σ|p_after − p_before| over all classes.
    """
    before = np.asarray(comparison.class_counts, dtype=np.float64)
    classes = share_classes(comparison)
    tables = []
    for fraction in sorted({f for _, f in comparison.kept_counts}, reverse=True):
        arms = {a: np.asarray(n, dtype=np.float64) for (a, f), n in comparison.kept_counts.items() if f == fraction}
        after = {arm: _normalised(kept) for arm, kept in arms.items() if arm != FULL}
        rows = [_share_row(comparison, c, _normalised(before), after) for c in classes]
        moved = tuple(Cell(percent(float(abs(p - _normalised(before)).sum()) / 2, 1) + " %") for p in after.values())
        rows.append(("class mix moved by", ("", ""), moved))
        heads = tuple(clean(arm) for arm in after)
        tables.append(Heat(f"{share(fraction)} kept", ("rows before", "share before"), heads, tuple(rows)))
    return tables


def _normalised(counts: FloatArray) -> FloatArray:
    """Return counts as shares."""
    return np.asarray(counts / max(counts.sum(), 1.0))


def _share_row(
    comparison: Comparison, c: int, before: FloatArray, after: dict[str, FloatArray]
) -> tuple[str, tuple[str, ...], tuple[Cell, ...]]:
    """Return the row of one class."""
    cells = []
    steps = [math.log(step) for step in _RATIO_STEPS]
    for shares in after.values():
        ratio = shares[c] / before[c] if before[c] else math.nan
        cells.append(Cell(_fine_percent(shares[c]), shade(math.log(max(ratio, 1e-9)), steps)))
    plain = (f"{comparison.class_counts[c]:,}", _fine_percent(before[c]))
    return clean(comparison.labels[c], LABEL_LIMIT), plain, tuple(cells)


def _fine_percent(value: float) -> str:
    """Return a share in per cent, with two digits below 1 %."""
    return "0 %" if value == 0 else f"{100 * value:.{2 if value < 0.01 else 1}f} %"


def share_classes(comparison: Comparison, limit: int = SHARE_CLASSES) -> list[int]:
    """Return the classes to show, by falling size: all, or the largest, the smallest and the most changed thirds.

    Change is |kept − expected| / √(expected + 1), the largest over the arms, with fraction · n_c expected. A class
    counts as most changed if an arm keeps no row of it although at least one was expected.
    """
    before = np.asarray(comparison.class_counts, dtype=np.float64)
    by_size = [int(c) for c in np.argsort(-before, kind="stable")]
    if len(by_size) <= limit:
        return by_size
    change = np.zeros(len(before))
    for kept in comparison.kept_counts.values():
        expected = before * (sum(kept) / max(before.sum(), 1.0))
        moved = abs(np.asarray(kept) - expected) / np.sqrt(expected + 1)
        # Emptied classes rank above all others, larger ones first.
        gone = (np.asarray(kept) == 0) & (expected >= 1)
        change = np.maximum(change, np.where(gone, np.finfo(np.float32).max / (1 + 1 / (expected + 1)), moved))
    present = [c for c in by_size if before[c] > 0]
    third = limit // 3
    found = dict.fromkeys(by_size[:third] + present[-third:])
    found |= dict.fromkeys([int(c) for c in np.argsort(-change, kind="stable") if int(c) not in found][:third])
    return [c for c in by_size if c in found]


def recall_tables(comparison: Comparison, limit: int = RECALL_CLASSES) -> list[Heat]:
    """Return the change of recall against all data for the worst-hit classes, in points, one table per fraction.

    Classes without test rows (recall NaN) are left out. Empty without a run on all data.
    """
    full = next((s for s in comparison.summaries if s.arm == FULL), None)
    arms = [s for s in comparison.summaries if s.arm != FULL]
    if full is None or not arms:
        return []
    changes = np.asarray([s.recall for s in arms]) - np.asarray(full.recall)
    worst = np.where(np.isnan(changes), np.inf, changes).min(axis=0)
    classes = [int(c) for c in np.argsort(worst, kind="stable") if np.isfinite(worst[c])][:limit]
    return [_recall_table(comparison, full, classes, fraction) for fraction in fractions(comparison)]


def _recall_table(comparison: Comparison, full: ArmSummary, classes: list[int], fraction: float) -> Heat:
    """Return the recall table of one fraction."""
    arms = [s for s in comparison.summaries if s.arm != FULL and s.fraction == fraction]
    rows = []
    for c in classes:
        changes = [s.recall[c] - full.recall[c] for s in arms]
        cells = tuple(Cell(signed(d, 1), shade(d, _RECALL_STEPS)) for d in changes)
        plain = (f"{comparison.class_counts[c]:,}", percent(full.recall[c], 1) + " %")
        rows.append((clean(comparison.labels[c], LABEL_LIMIT), plain, cells))
    heads = tuple(clean(s.arm) for s in arms)
    return Heat(f"{share(fraction)} kept", ("training rows", "recall, all data"), heads, tuple(rows))


def untested_classes(comparison: Comparison) -> int:
    """Return the number of classes without test rows."""
    recalls = np.asarray([run.recall for run in comparison.runs]) if comparison.runs else np.zeros((1, 0))
    return int(np.isnan(recalls).all(axis=0).sum())


def correlation_table(names: Sequence[str], rho: FloatArray) -> Heat:
    """Return a correlation matrix as a shaded table."""
    heads = tuple(clean(name) for name in names)
    rows = []
    for i, name in enumerate(heads):
        values = [float(value) for value in rho[i]]
        cells = [Cell(_rho(v), 0 if i == j else shade(v, _RHO_STEPS)) for j, v in enumerate(values)]
        rows.append((name, (), tuple(cells)))
    return Heat("Spearman's ρ", (), heads, tuple(rows))


def _rho(value: float) -> str:
    """Return a correlation with two digits; NaN as a dash."""
    return DASH if math.isnan(value) else f"{value:.2f}".replace("-", "−")
