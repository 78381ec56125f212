"""The CPU seconds of the scoring actors, seen from outside: they leave out the time in which others have a core."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

EVERY_SECONDS = 2.0
ACTOR = b"ScoringActor"


class Watch:
    """Notes every two seconds how many CPU seconds the actors of this machine have used; needs Linux's /proc."""

    def __init__(self) -> None:
        self.times, self.used = list[float](), list[float]()
        self._seconds = dict[int, float]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def between(self, start: float, end: float) -> float | None:
        """Return the CPU seconds that all actors used between two moments; None where nothing was seen."""
        if not self._seconds:
            return None
        first, last = np.interp([start, end], self.times, self.used)
        return float(last - first)

    def _run(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            self._seconds |= seconds_of(ACTOR)
            self.times.append(time.time())
            self.used.append(sum(self._seconds.values()))


def seconds_of(name: bytes) -> dict[int, float]:
    """Return the CPU seconds so far of every process with `name` in its command line, by process id."""
    found = dict[int, float]()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if name in (place / "cmdline").read_bytes():
                fields = (place / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                found[int(place.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            continue  # it has ended meanwhile
    return found
