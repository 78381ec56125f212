"""What a selection does to the classes, in numbers and in words."""

from __future__ import annotations

from collections.abc import Sequence

WIPED_OUT = 0.25
TURNED_OVER = 0.25
FEWEST_ROWS = 5
"""Of a class that can be said to be nearly wiped out."""


def class_shift(before: Sequence[int], after: Sequence[int]) -> float:
    """Return the total-variation distance of two class mixes, ½ Σ_c |p_c - q_c|: 0 is the same mix, 1 is disjoint."""
    return sum(abs(n / sum(before) - kept / sum(after)) for n, kept in zip(before, after, strict=True)) / 2


def class_warnings(
    labels: Sequence[str], before: Sequence[int], after: dict[tuple[str, float], tuple[int, ...]]
) -> tuple[str, ...]:
    """Name every selection that empties classes, nearly wipes them out, or turns the class mix over.

    Args:
        labels: class names. before: rows of each class.
        after: (arm, fraction) -> rows of each class that are kept.
    """
    found = []
    for (arm, fraction), kept in after.items():
        told = class_losses(labels, before, kept, fraction)
        if told:
            found.append(f"{arm} at {fraction:.0%} {'; it '.join(told)}")
    return tuple(found)


def class_losses(labels: Sequence[str], before: Sequence[int], kept: Sequence[int], fraction: float) -> list[str]:
    """Say what a selection of a share of the rows does to the classes; nothing where all is well.

    A class is emptied where a row of it was to be expected and none is left. One of five or more rows is nearly wiped
    out when less than a quarter of the share that random would keep is left; the mix is turned over from a class shift
    of a quarter on.
    """
    if not sum(before) or not sum(kept):
        return []
    gone = [c for c, n in enumerate(before) if fraction * n >= 1 and not kept[c]]
    lost = [c for c, n in enumerate(before) if n >= FEWEST_ROWS and 0 < kept[c] < WIPED_OUT * fraction * n]
    shift = class_shift(before, kept)
    told = [f"turns the class mix over (class shift {shift:.2f})"] if shift >= TURNED_OVER else []
    if gone:
        told.append(f"leaves no row of {_listed(gone, labels, before, kept)}")
    if lost:
        told.append(f"nearly wipes out {_listed(lost, labels, before, kept)}")
    return told


def _listed(classes: Sequence[int], labels: Sequence[str], before: Sequence[int], kept: Sequence[int]) -> str:
    """Count classes and name the largest three."""
    largest = sorted(classes, key=lambda c: -before[c])[:3]
    names = ", ".join(f"{labels[c]} ({kept[c]:,} of {before[c]:,} rows left)" for c in largest)
    more = f" and {len(classes) - 3} more" if len(classes) > 3 else ""
    return f"{len(classes)} of {len(labels)} classes: {names}{more}"
