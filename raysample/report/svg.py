"""The look of the figures, and their form: SVG that inherits the page's colours.

Text stays text (a class name in any script is drawn by the reader's fonts), lines use `currentColor`, and every id has
the figure's name as prefix, so that several figures share one page, in light and dark mode.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

# Placeholder colours that `embedded` replaces by the page's own, light or dark.
INK, RULE = "#0a0b0c", "#0d0e0f"
_PADDING = 0.05
"""Inches around a figure."""
_POINTS = 72
"""Dots per inch of SVG, to which matplotlib sets a figure that it writes as SVG."""
# Mid-tones with a contrast of at least 3:1 on white and on the dark page, distinct for colour-blind readers.
GREY, SAND = "#7d848c", "#98836a"
COLOURS = ("#2f7bd1", "#d55e00", "#10916a", "#b65799", "#a07a00", "#6f6bd0", "#1b8fa3", "#c4476b")
MARKERS = "osD^vPX*"
FIGURE_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "raysample",
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


def as_svg(figure: Figure, name: str, description: str) -> Markup:
    """Return a figure as an SVG element, with a name for its ids and a description for screen readers."""
    stream = io.StringIO()
    with warnings.catch_warnings():
        # The reader's fonts draw the text: a glyph missing in matplotlib's font only makes its width an estimate.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        figure.savefig(stream, format="svg", bbox_inches=_extent(figure), metadata={"Date": None})
    prefix = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return Markup(embedded(stream.getvalue(), prefix, description))  # noqa: S704 - matplotlib escapes the names in it


def _extent(figure: Figure) -> Bbox:
    """Return what `bbox_inches="tight"` finds, in inches, but without drawing the figure for it."""
    figure.dpi = _POINTS
    width, height = figure.bbox.size
    return figure.get_tightbbox(RendererSVG(width, height, io.StringIO(), image_dpi=_POINTS)).padded(_PADDING)


def embedded(document: str, prefix: str, description: str) -> str:
    """Return an SVG document as a page element: no prolog, metadata or style sheet, unique ids, the page's colours."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", svg)
    svg = svg.replace(INK, "currentColor").replace(RULE, "var(--rule)")
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert found is not None
    width = float(found[1]) * 4 / 3
    start = f'<svg role="img" aria-label="{escape(description)}" style="width:{width:.0f}px" '
    return start + f'viewBox="{found[0][9:-1]}" xmlns="http://www.w3.org/2000/svg">' + svg[svg.index(">") + 1 :]
