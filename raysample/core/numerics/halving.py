"""Batches that are halved when the device runs out of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Halving:
    """Iterates over a batch of rows as slices; a slice whose work runs out of memory is replaced by its halves.

    The work on a slice stands in a `with` block, so that the failed attempt's tensors are free before the halves come::

        for piece in (pieces := Halving(rows)):
            with pieces:
                found.append(work(batch[piece]))

    The slices whose work succeeds cover the rows in order. A single row that does not fit raises its OutOfMemoryError.
    """

    def __init__(self, rows: int) -> None:
        self._waiting = [slice(0, rows)]
        self._current = self._waiting[0]

    def __iter__(self) -> Iterator[slice]:
        while self._waiting:
            self._current = self._waiting.pop()
            yield self._current

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        start, stop = self._current.start, self._current.stop
        if not isinstance(error, torch.OutOfMemoryError) or stop - start <= 1:
            return False
        middle = start + (stop - start) // 2
        self._waiting += [slice(middle, stop), slice(start, middle)]
        return True


def map_in_halves(work: Callable[[NDArray[np.int64]], Tensor], rows: NDArray[np.int64]) -> list[Tensor]:
    """Return the results of `work` on `rows`, one per piece: one result where the memory suffices for all rows."""
    found: list[Tensor] = []
    for piece in (pieces := Halving(len(rows))):
        with pieces:
            found.append(work(rows[piece]))
    return found
