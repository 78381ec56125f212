"""Mapping a function over parts of the data with threads; a cluster does the same elsewhere (`Engine.map`)."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")
THREADS = min(8, os.cpu_count() or 1)


class MapFn(Protocol):
    """Maps a picklable, pure function over items; yields the results in the order of the items."""

    def __call__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """Map it."""
        ...


def threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Map with as many threads as there are cores, up to eight, a few items ahead of who reads the results.

    Items are drawn one after the other, in the caller's thread. Most of what reading and counting do leaves Python's
    lock, so threads suffice.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        pending: deque[Future[R]] = deque()
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * THREADS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
