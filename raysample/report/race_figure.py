"""The figure of a race: every candidate against stratified random sampling."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from raysample.report.formatting import clean
from raysample.report.svg import COLOURS, FIGURE_STYLE, GREY, INK, as_svg


def draw_candidates(rows: Sequence[tuple[str, float, float, float, bool]], unit: str) -> Markup:
    """Draw the candidates of a race: the difference of each to stratified random sampling, with its interval.

    Args:
        rows: name, mean, lower and upper end, and whether the candidate was chosen; the first is drawn on top.
        unit: name of the axis.
    """
    with mpl.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(5.6, 0.8 + 0.24 * len(rows)))
        axes = figure.add_subplot()
        for y, (_, mean, low, high, chosen) in enumerate(rows):
            colour = COLOURS[0] if chosen else GREY
            axes.errorbar(
                mean, y, xerr=[[mean - low], [high - mean]], color=colour, marker="o", markersize=5, capsize=3
            )
        axes.axvline(0, color=INK, linewidth=1.0, zorder=0)
        axes.annotate(
            "stratified random",
            (0, 1),
            (0, 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
        )
        axes.set_yticks(range(len(rows)), [clean(name, 60) for name, *_ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.6)
        axes.set_xlabel(unit)
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0, labelsize=8)
        return as_svg(figure, "candidates", f"Candidates against stratified random sampling, {unit}")
