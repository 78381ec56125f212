"""The report's first lines: doubts about the verdict, the verdict, and its evidence."""

from __future__ import annotations

from raysample.evaluation.comparison import Comparison
from raysample.report.formatting import clean

SHOWN_DOUBTS = 4
"""Number of doubts in the first lines; the warnings list all."""


def headline(comparison: Comparison) -> list[str]:
    """Return the first sentences of the page.

    Doubts come before the verdict. The verdict is that of the configured objective, with interval, seeds and test rows;
    the other objectives and the smallest detectable difference follow.
    """
    doubts = [f"Before any verdict: {clean(doubt)}." for doubt in comparison.doubts[:SHOWN_DOUBTS]]
    more = len(comparison.doubts) - len(doubts)
    doubts += [f"Before any verdict: see {more} more among the warnings."] if more > 0 else []
    return doubts + [clean(sentence) for sentence in comparison.findings()]


def tone(verdict: str) -> str:
    """Return the first word of a verdict, its style: `better`, `worse`, `equivalent`, `undecided`, `baseline`, ..."""
    return verdict.removeprefix("weak evidence: ").replace(":", " ").split()[0]
