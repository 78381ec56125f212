"""Figures of the report: matplotlib through its object interface, as SVG (`svg`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from raysample.core.arrays import FloatArray
from raysample.core.statistics import Distribution, Statistics
from raysample.evaluation import FULL, RANDOM, STRATIFIED
from raysample.evaluation.arm_summary import ArmSummary
from raysample.evaluation.comparison import Comparison
from raysample.report.formatting import clean, share
from raysample.report.svg import COLOURS, FIGURE_STYLE, GREY, INK, MARKERS, SAND, as_svg
from raysample.report.tables import fractions

Metric = Literal["accuracy", "macro_f1"]
METRIC_TITLES: dict[Metric, str] = {"accuracy": "Accuracy", "macro_f1": "Macro-F1"}

RIDGE_CLASSES = 12
_BINS = 48
_MIN_ROWS = 5


def curves(comparison: Comparison, metric: Metric) -> Markup:
    """Draw a metric against the fraction kept, or by arm if there is one fraction; bars are ± one deviation."""
    with mpl.rc_context(FIGURE_STYLE):
        one = len(fractions(comparison)) == 1
        figure = _by_arm(comparison, metric) if one else _by_fraction(comparison, metric)
        what = f"{METRIC_TITLES[metric]} {'by arm' if one else 'against the fraction kept'}"
        return as_svg(figure, f"curve-{metric}", what)


def _looks(comparison: Comparison) -> dict[str, tuple[str, str]]:
    """Return arm -> (colour, marker)."""
    arms = dict.fromkeys(s.arm for s in comparison.summaries)
    looks = {FULL: (INK, "s"), RANDOM: (GREY, "o"), STRATIFIED: (SAND, "D")}
    others = [arm for arm in arms if arm not in looks]
    cycle = {arm: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, arm in enumerate(others)}
    return looks | cycle


def _values(summary: ArmSummary, metric: Metric) -> tuple[float, float]:
    """Return mean and standard deviation of a metric in per cent, deviation 0 for one seed."""
    mean, deviation = getattr(summary, metric)
    return 100 * mean, 0.0 if math.isnan(deviation) else 100 * deviation


def _by_arm(comparison: Comparison, metric: Metric) -> Figure:
    """Draw one row per arm: single seeds, mean and deviation."""
    arms = [s for s in comparison.summaries if s.arm != FULL]
    figure = Figure(figsize=(4.3, 0.75 + 0.3 * len(arms)))
    axes = figure.add_subplot()
    looks = _looks(comparison)
    for y, summary in enumerate(arms):
        mean, deviation = _values(summary, metric)
        colour, marker = looks[summary.arm]
        seeds = [
            100 * r.metrics[metric] for r in comparison.runs if (r.arm, r.fraction) == (summary.arm, summary.fraction)
        ]
        axes.plot(seeds, [y] * len(seeds), "o", color=colour, alpha=0.45, markersize=3.5, markeredgewidth=0)
        axes.errorbar(mean, y, xerr=deviation or None, color=colour, marker=marker, markersize=6.5, capsize=3)
        if summary.arm == RANDOM:
            axes.axvline(mean, color=colour, linestyle="--", linewidth=0.9, zorder=0)
    _full_band(axes, comparison, metric, upright=True)
    axes.set_yticks(range(len(arms)), [clean(s.arm, 36) for s in arms])
    axes.set_ylim(len(arms) - 0.5, -0.6)
    axes.set_xlabel(f"{METRIC_TITLES[metric]} in %, {share(arms[0].fraction)} kept")
    axes.set_title(f"{METRIC_TITLES[metric]} by arm", pad=16)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    return figure


def _full_band(axes: Any, comparison: Comparison, metric: Metric, *, upright: bool) -> float | None:
    """Draw the result on all data as a line with a band; return its mean in per cent, None without such a run."""
    full = next((s for s in comparison.summaries if s.arm == FULL), None)
    if full is None:
        return None
    mean, deviation = _values(full, metric)
    (axes.axvline if upright else axes.axhline)(mean, color=INK, linewidth=1.2, zorder=0)
    span = axes.axvspan if upright else axes.axhspan
    span(mean - deviation, mean + deviation, color=INK, alpha=0.12, linewidth=0, zorder=0)
    if upright:
        axes.annotate(
            "all data", (mean, 1), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points", ha="center"
        )
    return mean


def _by_fraction(comparison: Comparison, metric: Metric) -> Figure:
    """Draw one line per arm over the fractions kept."""
    figure = Figure(figsize=(4.4, 3.3))
    axes = figure.add_subplot()
    kept = sorted(fractions(comparison))
    arms = list(dict.fromkeys(s.arm for s in comparison.summaries if s.arm != FULL))
    nudge = 0.012 * (kept[-1] - kept[0])
    ends = []
    for i, arm in enumerate(arms):
        shift = nudge * (i - (len(arms) - 1) / 2)
        ends.append((clean(arm, 36), *_line(axes, comparison, metric, arm, shift)))
    full = _full_band(axes, comparison, metric, upright=False)
    if full is not None:
        ends.append(("all data", INK, kept[-1], full))
    axes.set_xticks(kept, [share(f) for f in kept])
    axes.set_xlabel("share of the training rows kept")
    axes.set_title(f"{METRIC_TITLES[metric]} in %")
    axes.grid(axis="y")
    _label_ends(axes, ends)
    return figure


def _line(axes: Any, comparison: Comparison, metric: Metric, arm: str, shift: float) -> tuple[str, float, float]:
    """Draw one arm's line; return its colour and its last point."""
    cells = sorted((s for s in comparison.summaries if s.arm == arm), key=lambda s: s.fraction)
    colour, marker = _looks(comparison)[arm]
    xs = [s.fraction + shift for s in cells]
    means, deviations = zip(*(_values(s, metric) for s in cells), strict=True)
    dashes = "--" if arm in (RANDOM, STRATIFIED) else "-"
    axes.errorbar(
        xs,
        means,
        yerr=deviations,
        color=colour,
        marker=marker,
        linestyle=dashes,
        markersize=4.5,
        linewidth=1.4,
        capsize=2.5,
    )
    return colour, xs[-1], means[-1]


def _label_ends(axes: Any, ends: list[tuple[str, str, float, float]]) -> None:
    """Write each line's name to the right of its end; names that would overlap are moved apart.

    A connector in the arm's colour leads to each name; the names themselves have the text colour, for contrast.
    """
    low, high = axes.get_ylim()
    ends = sorted(ends, key=lambda end: end[3])
    gap = 0.058 * (high - low)
    places = spread_apart([end[3] for end in ends], gap)
    for (name, colour, x, y), place in zip(ends, places, strict=True):
        axes.annotate(
            name,
            (x, y),
            (1.04, place),
            textcoords=("axes fraction", "data"),
            color=INK,
            va="center",
            fontsize=8.5,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 1.2, "shrinkA": 1, "shrinkB": 3},
        )
    axes.set_ylim(low, high)


def spread_apart(values: Sequence[float], gap: float) -> list[float]:
    """Return rising values moved as little as needed to be `gap` apart: runs that touch are centred on their mean."""
    blocks: list[list[float]] = []
    for value in values:
        blocks.append([value])
        while len(blocks) > 1 and _edge(blocks[-1], gap, -1) < _edge(blocks[-2], gap, 1):
            last = blocks.pop()
            blocks[-1] += last
    return [math.fsum(b) / len(b) + gap * (i - (len(b) - 1) / 2) for b in blocks for i in range(len(b))]


def _edge(block: list[float], gap: float, side: int) -> float:
    """Return the lower (`side` -1) or upper (1) end of a block of values that are `gap` apart."""
    return math.fsum(block) / len(block) + side * gap * len(block) / 2


def ridges(column: str, statistics: Statistics, labels: Sequence[str]) -> Markup:
    """Draw the distribution of one score: all rows, then the chosen classes by falling median.

    Each ridge is a histogram (48 bins, or one per count) scaled to its own peak, with the median (tick) and the middle
    half (bar). The axis spans the 0.5 % to 99.5 % quantiles of all rows; rows outside count in the outermost bin.
    """
    whole = statistics.overall(column)
    groups = [("all rows", whole), *_ridge_groups(column, statistics, labels)]
    edges = ridge_edges(whole)
    low, high = float(edges[0]), float(edges[-1])
    with mpl.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(3.7, 0.6 + 0.27 * len(groups)))
        axes = figure.add_subplot()
        for y, (_, rows) in enumerate(groups):
            _ridge(axes, rows, y, edges, INK if y == 0 else COLOURS[0])
        axes.set_yticks(range(len(groups)), [f"{name} ({found.rows:,})" for name, found in groups])
        axes.set_ylim(len(groups) - 0.5, -1.0)
        axes.set_xlim(low, high)
        axes.set_title(clean(column, 40))
        axes.tick_params(axis="y", length=0, labelsize=8)
        return as_svg(figure, f"ridge-{column}", f"Distribution of {clean(column)} by class")


def ridge_edges(rows: Distribution) -> FloatArray:
    """Return the bin edges of a ridge: one bin per count if values are few whole numbers, else 48 equal bins."""
    low, high = rows.quantiles([0.005, 0.995])
    if rows.whole and high - low < _BINS:
        return np.arange(low, high + 2, dtype=np.float64) - 0.5
    return np.linspace(low, high if high > low else low + 1.0, _BINS + 1, dtype=np.float64)


def _ridge(axes: Any, rows: Distribution, y: float, edges: FloatArray, colour: str) -> None:
    """Draw one distribution at height `y`: histogram, quartiles and median."""
    counts = rows.between(edges)
    heights = y + 0.3 - 1.05 * counts / max(counts.max(), 1e-9)
    axes.stairs(heights, edges, baseline=y + 0.3, fill=True, color=colour, alpha=0.4, linewidth=0)
    lower, median, upper = np.clip(rows.quantiles([0.25, 0.5, 0.75]), float(edges[0]), float(edges[-1]))
    axes.plot([lower, upper], [y + 0.3] * 2, color=colour, linewidth=2.2, solid_capstyle="butt", clip_on=False)
    axes.plot([median] * 2, [y + 0.02, y + 0.42], color=INK, linewidth=1.3, solid_capstyle="butt", clip_on=False)


def _ridge_groups(column: str, statistics: Statistics, labels: Sequence[str]) -> list[tuple[str, Distribution]]:
    """Return the classes to show with their distributions, by falling median."""
    parts = {int(label): statistics.of_class(int(label), column) for label in statistics.classes.keys}
    medians = {label: rows.quantile(0.5) for label, rows in parts.items()}
    shown = ridge_classes({label: rows.rows for label, rows in parts.items()}, medians)
    return [(clean(labels[c], 30), parts[c]) for c in sorted(shown, key=lambda c: -medians[c])]


def ridge_classes(counts: dict[int, int], medians: dict[int, float], limit: int = RIDGE_CLASSES) -> list[int]:
    """Choose at most `limit` classes: the most frequent half, then those of highest and lowest median (≥ 5 rows)."""
    by_size = sorted(counts, key=lambda c: (-counts[c], c))
    if len(by_size) <= limit:
        return by_size
    chosen = by_size[: limit // 2]
    rest = sorted((c for c in by_size[limit // 2 :] if counts[c] >= _MIN_ROWS), key=lambda c: (medians[c], c))
    left = limit - len(chosen)
    return list(dict.fromkeys(chosen + rest[: left // 2] + rest[::-1][: left - left // 2]))
