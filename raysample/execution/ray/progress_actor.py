"""A small actor on which workers write how far they are, so that the driver can show it while it waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray

POLL_SECONDS = 1.0


class Board:
    """Holds the newest note of every worker."""

    def __init__(self) -> None:
        self.notes: dict[str, tuple[int, int, float]] = {}

    def write(self, key: str, done: int, total: int, value: float) -> None:
        """Note that `key` has done `done` of `total`."""
        self.notes[key] = (done, total, value)

    def read(self) -> dict[str, tuple[int, int, float]]:
        """Return all notes."""
        return self.notes


class Writer:
    """Writes to a board at most once a second; fire and forget."""

    def __init__(self, board: Any, key: str) -> None:
        self.board, self.key, self.last = board, key, 0.0

    def __call__(self, done: int, total: int, value: float) -> None:
        """Note the advance, unless one was noted within the last second and this is not the end."""
        now = time.monotonic()
        if now - self.last >= POLL_SECONDS or done == total:
            self.last = now
            self.board.write.remote(self.key, done, total, value)


@contextmanager
def watch_progress(show: Callable[[dict[str, tuple[int, int, float]]], None]) -> Iterator[Any]:
    """Yield a board; `show` gets its notes about once a second from a thread of the driver."""
    board = ray.remote(num_cpus=0)(Board).remote()
    stop = threading.Event()

    def poll() -> None:
        while not stop.wait(POLL_SECONDS):
            try:
                show(ray.get(board.read.remote(), timeout=5))
            except ray.exceptions.GetTimeoutError:
                continue  # the board is not up yet, or the machine is busy
            except ray.exceptions.RayError:
                return  # the board is gone with its cluster: there is nothing left to show

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield board
    finally:
        stop.set()
        thread.join(timeout=10)
        ray.kill(board)
