"""The order of the global batches, which does not depend on the number of workers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from raysample.core.arrays import AnyIntArray, IntArray
from raysample.data.row_sampling import generator

# Batches whose rows are sorted by length together: enough to save padding, few enough to stay random.
WINDOW = 16


def batches(
    rows: int, size: int, seed: int, steps: int, lengths: AnyIntArray | None = None, start: int = 0
) -> Iterator[IntArray]:
    """Yield the global batches of row positions: a Philox permutation per epoch, whose last batch may be short.

    With `lengths`, each run of WINDOW batches of the permutation is sorted by length before it is cut into batches, and
    the batches of an epoch are permuted again: less padding, nearly the same randomness. Every row still occurs once
    per epoch. The batches of an epoch depend only on the seed and its number, so a run resumes at any step `start`.
    """
    per_epoch = math.ceil(rows / size)
    for epoch in range(start // per_epoch, math.ceil(steps / per_epoch)):
        first = epoch * per_epoch
        yield from _epoch(rows, size, seed, epoch, lengths)[max(0, start - first) : steps - first]


def _epoch(rows: int, size: int, seed: int, epoch: int, lengths: AnyIntArray | None) -> list[IntArray]:
    """Return the batches of one epoch."""
    draw = generator(seed, epoch)
    order = draw.permutation(rows)
    if lengths is None:
        return [order[start : start + size] for start in range(0, rows, size)]
    window = WINDOW * size
    pieces = [order[start : start + window] for start in range(0, rows, window)]
    order = np.concatenate([piece[np.argsort(lengths[piece], kind="stable")] for piece in pieces])
    cut = [order[start : start + size] for start in range(0, rows, size)]
    return [cut[turn] for turn in draw.permutation(len(cut))]
