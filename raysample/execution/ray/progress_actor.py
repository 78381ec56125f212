"""A small actor on which workers record their progress, so that the driver can show it while it waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray

PROGRESS_POLL_SECONDS = 1.0


class Board:
    """Actor that holds the newest progress note of every worker: (done, total, value)."""

    def __init__(self) -> None:
        self.notes: dict[str, tuple[int, int, float]] = {}

    def write(self, key: str, done: int, total: int, value: float) -> None:
        """Record that worker `key` has finished `done` of `total`, with a value such as the loss."""
        self.notes[key] = (done, total, value)

    def read(self) -> dict[str, tuple[int, int, float]]:
        """Return all notes."""
        return self.notes


class Writer:
    """Writes progress to a board at most once a second, without waiting for the call."""

    def __init__(self, board: Any, key: str) -> None:
        self.board, self.key, self.last = board, key, 0.0

    def __call__(self, done: int, total: int, value: float) -> None:
        """Record the progress, unless the last record is less than a second old and this is not the end."""
        now = time.monotonic()
        if now - self.last >= PROGRESS_POLL_SECONDS or done == total:
            self.last = now
            self.board.write.remote(self.key, done, total, value)


@contextmanager
def watch_progress(show: Callable[[dict[str, tuple[int, int, float]]], None]) -> Iterator[Any]:
    """Yield a board; a driver thread calls `show` with its notes about once a second."""
    board = ray.remote(num_cpus=0)(Board).remote()
    stop = threading.Event()

    def poll() -> None:
        """Show the notes of the board until the work ends or the actor dies."""
        while not stop.wait(PROGRESS_POLL_SECONDS):
            try:
                show(ray.get(board.read.remote(), timeout=5))
            except ray.exceptions.GetTimeoutError:
                continue  # the actor is not up yet, or the machine is busy
            except ray.exceptions.RayError:
                return  # the actor died with its cluster

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield board
    finally:
        stop.set()
        thread.join(timeout=10)
        ray.kill(board)
