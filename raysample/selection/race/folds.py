"""The folds of a race: who is judged when, and whether the rows are enough for a race at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raysample.core.arrays import IntArray

FOLDS, LEAST_FOLDS, LEAST_ROWS = 5, 3, 200


@dataclass(frozen=True, eq=False)
class Folds:
    """The fold of each row, [N], −1 for rows of tiny classes, which are trained on and never judged.

    Attributes:
        fold: see above. count: number of folds. notes: what was cut down, as sentences.
        refused: why there can be no race; empty if there can.
    """

    fold: IntArray
    count: int
    notes: tuple[str, ...] = ()
    refused: str = ""


def deal_folds(labels: IntArray, order: IntArray, share: float, cluster: IntArray | None = None) -> Folds:
    """Deal rows to folds, class by class; rows of one cluster (equal texts, say) are in one fold.

    Five folds, or as many as the smallest class has clusters; classes of fewer than three are left to training.

    Args:
        labels: [N]. order: a permutation of the rows, which decides who is dealt first.
        share: share of rows that selections will keep.
        cluster: cluster of each row, [N]; None for rows of their own.

    >>> deal_folds(np.array([0] * 150 + [1] * 150), np.arange(300), 0.5).fold[:6].tolist()
    [0, 1, 2, 3, 4, 0]
    """
    rows, unit = len(labels), np.arange(len(labels)) if cluster is None else cluster
    nothing = np.full(rows, -1)
    classes, sizes = np.unique(labels, return_counts=True)
    refused = _refused(rows, len(classes), share)
    if refused:
        return Folds(nothing, 0, refused=refused)
    # A cluster has the class of its first row in the order.
    _, first, place = np.unique(unit[order], return_index=True, return_inverse=True)
    owner = labels[order][first]
    units = np.bincount(np.searchsorted(classes, owner), minlength=len(classes))
    judged = classes[units >= LEAST_FOLDS]
    if len(judged) < 2:
        return Folds(nothing, 0, refused=f"fewer than two classes have {LEAST_FOLDS} different rows")
    count = int(min(FOLDS, units[units >= LEAST_FOLDS].min()))
    notes = [f"{count} folds instead of {FOLDS}: a class has {count} different rows"] if count < FOLDS else []
    tiny = int((units < LEAST_FOLDS).sum())
    if tiny:
        left = int(sizes[units < LEAST_FOLDS].sum())
        notes.append(f"{tiny:,} classes of fewer than {LEAST_FOLDS} different rows ({left:,} rows) are not judged")
    # Clusters are dealt in turn, sorted by class and, within, by their place in the order.
    turn = np.lexsort((first, owner))
    dealt = np.empty(len(first), np.int64)
    dealt[turn] = np.arange(len(first)) % count
    fold = np.empty(rows, np.int64)
    fold[order] = dealt[place]
    fold[~np.isin(labels, judged)] = -1
    return Folds(fold, count, tuple(notes))


def _refused(rows: int, classes: int, share: float) -> str:
    """Return why so few rows allow no race; empty if they do."""
    if rows < LEAST_ROWS:
        return f"{rows:,} rows are fewer than {LEAST_ROWS}: no race could show a difference"
    if classes < 2:
        return "all rows have one class"
    if share * rows < classes:
        return f"{share:g} of {rows:,} rows is less than one row for each of {classes:,} classes"
    return ""
