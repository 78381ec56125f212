"""Effect of a selection on the classes, as numbers and as warnings."""

from __future__ import annotations

from collections.abc import Sequence

WIPED_OUT = 0.25
"""Share of a class's expected kept rows below which the class is nearly wiped out."""
TURNED_OVER = 0.25
"""Class shift from which on the class mix is turned over."""
MIN_CLASS_ROWS = 5
"""Smallest class that can be reported as nearly wiped out."""


def class_shift(before: Sequence[int], after: Sequence[int]) -> float:
    """Return the total-variation distance of two class mixes, ½ Σ_c |p_c - q_c|: 0 is the same mix, 1 is disjoint."""
    return sum(abs(n / sum(before) - kept / sum(after)) for n, kept in zip(before, after, strict=True)) / 2


def class_warnings(
    labels: Sequence[str], before: Sequence[int], after: dict[tuple[str, float], tuple[int, ...]]
) -> tuple[str, ...]:
    """Return a warning for every selection that empties classes, nearly wipes them out, or turns the mix over.

    Args:
        labels: class names.
        before: rows of each class, [C].
        after: (arm, fraction) -> kept rows of each class, [C].
    """
    warnings = []
    for (arm, fraction), kept in after.items():
        losses = class_losses(labels, before, kept, fraction)
        if losses:
            warnings.append(f"{arm} at {fraction:.0%} {'; it '.join(losses)}")
    return tuple(warnings)


def class_losses(labels: Sequence[str], before: Sequence[int], kept: Sequence[int], fraction: float) -> list[str]:
    """Return descriptions of what a selection of a share of the rows does to the classes; empty if harmless.

    A class is emptied if at least one kept row was expected and none is left. A class of five or more rows is nearly
    wiped out if less than a quarter of the rows that random sampling would keep are left. The mix is turned over if the
    class shift is at least a quarter.
    """
    if not sum(before) or not sum(kept):
        return []
    gone = [c for c, n in enumerate(before) if fraction * n >= 1 and not kept[c]]
    lost = [c for c, n in enumerate(before) if n >= MIN_CLASS_ROWS and 0 < kept[c] < WIPED_OUT * fraction * n]
    shift = class_shift(before, kept)
    losses = [f"turns the class mix over (class shift {shift:.2f})"] if shift >= TURNED_OVER else []
    if gone:
        losses.append(f"leaves no row of {_listed(gone, labels, before, kept)}")
    if lost:
        losses.append(f"nearly wipes out {_listed(lost, labels, before, kept)}")
    return losses


def _listed(classes: Sequence[int], labels: Sequence[str], before: Sequence[int], kept: Sequence[int]) -> str:
    """Return the number of classes, and the names of the largest three, as text."""
    largest = sorted(classes, key=lambda c: -before[c])[:3]
    names = ", ".join(f"{labels[c]} ({kept[c]:,} of {before[c]:,} rows left)" for c in largest)
    more = f" and {len(classes) - 3} more" if len(classes) > 3 else ""
    return f"{len(classes)} of {len(labels)} classes: {names}{more}"
