"""The split of a global batch over workers: equal work for all, little padding.

The gradient of a global batch does not depend on which worker processes which row, so rows of similar length may be
grouped: a few long ones on one worker, many short ones on another. A group costs its rows times its longest row, and
all workers wait for the slowest one.
"""

from __future__ import annotations

import numpy as np

from raysample.core.arrays import AnyIntArray, IntArray


def length_balanced_split(
    rows: IntArray, lengths: AnyIntArray, rank: int, world: int, most: int | None = None
) -> list[IntArray]:
    """Return the rows of one worker in a global batch, one array per forward, each in the order of the batch.

    Splits the rows, sorted by length, into k = world x ⌈B / (world x most)⌉ groups of at most `most` rows, such that
    the largest (rows of a group) x (its longest row) is minimal. Workers take groups in turn, there and back (longest
    first), so that all have the same number of forwards; the last groups may be empty. One worker without `most` keeps
    the batch as it is.

    Args:
        rows: positions in the corpus [B], all different.
        lengths: tokens of every row of the corpus.
        rank: the worker, from 0.
        world: number of workers.
        most: rows of one forward; None for no limit.
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
    """Return the start of each group of rows with falling lengths, and the end of the last group.

    A bound on the cost of a group is feasible if greedily filled groups, longest rows first, hold all rows. Feasibility
    is monotone in the bound, so bisection finds the smallest one.
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
    """Return the starts of groups that are filled up to a cost bound; the last entry is the number of rows placed."""
    starts = [0]
    for _ in range(groups):
        start = starts[-1]
        fits = bound // max(1, int(falling[start])) if start < len(falling) else 0
        starts.append(min(len(falling), start + min(size, fits)))
    return starts
