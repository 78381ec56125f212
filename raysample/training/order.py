"""The order of the global batches, which does not depend on the number of workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

# Batches that are sorted by length together when rows are grouped: enough to save padding, few enough to stay random.
WINDOW = 16


def batches(
    rows: int, size: int, seed: int, steps: int, lengths: NDArray[np.integer[Any]] | None = None
) -> Iterator[IntArray]:
    """Yield the global batches of row positions: a Philox permutation per epoch, whose last batch may be short.

    With `lengths`, each run of WINDOW batches of the permutation is sorted by length before it is cut, and the batches
    of an epoch are permuted again: less padding, nearly the same randomness. Every row still comes once an epoch.
    """
    done = epoch = 0
    while done < steps:
        draw = np.random.Generator(np.random.Philox(key=[seed % 2**63, epoch]))
        order = draw.permutation(rows)
        if lengths is not None:
            window = WINDOW * size
            pieces = [order[start : start + window] for start in range(0, rows, window)]
            order = np.concatenate([piece[np.argsort(lengths[piece], kind="stable")] for piece in pieces])
        cut = [order[start : start + size] for start in range(0, rows, size)]
        turns = range(len(cut)) if lengths is None else draw.permutation(len(cut))
        for turn in list(turns)[: steps - done]:
            yield cut[turn]
            done += 1
        epoch += 1
