"""The page's first lines: what makes a verdict doubtful, the verdict, and what it rests on."""

from __future__ import annotations

from raysample.evaluation.comparison import Comparison
from raysample.report.formatting import clean

SHOWN = 4
"""Doubts in the first lines; the warnings have all of them."""


def headline(comparison: Comparison) -> list[str]:
    """Return what a reader must see first.

    Doubts come before the verdict. The verdict is that of the configured objective, with interval, seeds and test rows;
    the other objectives stand beside it, and what could be seen with so many seeds and rows.
    """
    doubts = [f"Before any verdict: {clean(doubt)}." for doubt in comparison.doubts[:SHOWN]]
    more = len(comparison.doubts) - len(doubts)
    doubts += [f"Before any verdict: see {more} more among the warnings."] if more > 0 else []
    return doubts + [clean(sentence) for sentence in comparison.findings()]


def tone(verdict: str) -> str:
    """Return the word that a verdict is shown by: `better`, `worse`, `equivalent`, `undecided`, `baseline`, ..."""
    return verdict.removeprefix("weak evidence: ").replace(":", " ").split()[0]
