"""Map a function over parts of the data with threads; a cluster does the same through `Executor.map`."""

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
        """Map a function over items."""
        ...


def threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Map with one thread per core, eight at most; runs a few items ahead of the consumer.

    Items are drawn one after another in the caller's thread. Reading and counting mostly release Python's lock, so
    threads suffice.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        pending: deque[Future[R]] = deque()
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * THREADS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
