"""Mini-batches by a token budget, of rows sorted by length, so that little is padding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def token_batches(lengths: NDArray[np.integer], budget: int) -> Iterator[NDArray[np.int64]]:
    """Yield row positions, shortest rows first, such that rows x longest <= budget (one row at least).

    The sort is stable, so equal input gives equal batches.

    >>> [rows.tolist() for rows in token_batches(np.array([7, 2, 3, 8]), budget=8)]  # rows x longest <= 8
    [[1, 2], [0], [3]]
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * int(lengths[order[stop]]) <= budget:
            stop += 1
        yield order[start:stop]
        start = stop
