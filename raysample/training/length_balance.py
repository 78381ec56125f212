"""Which worker takes which rows of a global batch, so that all have as much to do and little of it is padding.

The gradient of a global batch does not depend on who holds which row, so rows of like lengths may lie together: a few
long ones with one worker, many short ones with another. A worker takes a row times the longest it lies with, and all
wait for the one that takes longest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Lengths = NDArray[np.integer[Any]]


def length_balanced_split(
    rows: IntArray, lengths: Lengths, rank: int, world: int, most: int | None = None
) -> list[IntArray]:
    """Return what a worker takes of a global batch, one array per forward, each in the order of the batch.

    Cuts the rows, sorted by length, into k = world x ⌈B / (world x most)⌉ groups of at most `most` rows, so that the
    largest (rows of a group) x (its longest row) is the smallest possible. Workers take groups in turn, there and back
    (longest first), so that all have as many forwards; the last groups may be empty. One worker without `most` has the
    batch as it is.

    Args:
        rows: positions in the corpus [B], all different.
        lengths: tokens of every row of the corpus.
        rank: the worker, from 0.
        world: workers.
        most: rows of one forward; None for as many as there are.
    """
    size = most or len(rows)
    forwards = max(1, -(-len(rows) // max(1, world * size)))
    groups = forwards * world
    if groups == 1:
        return [rows]
    order = np.argsort(-lengths[rows].astype(np.int64), kind="stable")
    starts = _cuts(lengths[rows[order]].astype(np.int64), groups, size)
    turns = (turn * world + (rank if turn % 2 == 0 else world - 1 - rank) for turn in range(forwards))
    return [rows[np.sort(order[starts[turn] : starts[turn + 1]])] for turn in turns]


def _cuts(falling: IntArray, groups: int, size: int) -> list[int]:
    """Return where the groups of rows begin, whose lengths fall, and where the last one ends.

    A bound holds if groups that are filled up to it, longest rows first, are enough; the least such bound is searched.
    """
    low, high = int(falling[:1].max(initial=0)), int(size * falling[:1].max(initial=0))
    while low < high:
        middle = (low + high) // 2
        if _filled(falling, middle, size, groups)[-1] == len(falling):
            high = middle
        else:
            low = middle + 1
    return _filled(falling, high, size, groups)


def _filled(falling: IntArray, bound: int, size: int, groups: int) -> list[int]:
    starts = [0]
    for _ in range(groups):
        start = starts[-1]
        fits = bound // max(1, int(falling[start])) if start < len(falling) else 0
        starts.append(min(len(falling), start + min(size, fits)))
    return starts
