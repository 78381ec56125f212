"""Timing by turns: every method runs once per repetition, and ratios are taken within each repetition.

With one thread the clock is the process's CPU seconds, which leave out the time in which others have the core (but not
what they take of caches and memory); with more threads it is the wall clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

import torch


def now() -> float:
    """Return the clock in seconds: of this process's CPU time with one thread, of the wall with more."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


@dataclass(frozen=True)
class Cost:
    """Seconds of a method at each repetition, for `rows` rows."""

    rows: int
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def clock(self) -> list[float]:
        """Return the seconds that ratios are made of."""
        return self.cpu if torch.get_num_threads() == 1 else self.wall

    def over(self, other: Cost) -> dict[str, float]:
        """Return how many times the seconds per row of `other` this took, repetition by repetition.

        Where one was timed less often than the other (a slow peer), its median stands in for what is missing.
        """
        mine, its = _filled(self.clock(), other.clock()), _filled(other.clock(), self.clock())
        return spread([a * other.rows / (b * self.rows) for a, b in zip(mine, its, strict=True)])

    def add(self, run: Callable[[], object]) -> None:
        """Run something once and keep its seconds."""
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        self.cpu.append(time.process_time() - cpu)
        self.wall.append(time.perf_counter() - wall)

    def figures(self) -> dict[str, object]:
        """Return seconds and rates as plain data."""
        return {
            "rows": self.rows,
            "cpu_seconds": spread(self.cpu, 6),
            "wall_seconds": spread(self.wall, 6),
            "rows_per_cpu_second": round(self.rows / median(self.cpu), 2),
            "rows_per_second": round(self.rows / median(self.wall), 2),
            "repetitions": len(self.cpu),
        }


def _filled(values: list[float], like: list[float]) -> list[float]:
    return values + [median(values)] * (len(like) - len(values))


def spread(values: list[float], digits: int = 4) -> dict[str, float]:
    """Return median, lowest and highest."""
    found = {"median": median(values), "lowest": min(values), "highest": max(values)}
    return {what: round(value, digits) for what, value in found.items()}


def measure(methods: Mapping[str, Callable[[], object]], rows: int, repetitions: int) -> dict[str, Cost]:
    """Run every method once per repetition, each repetition starting at another one, and return what they cost."""
    costs = {name: Cost(rows) for name in methods}
    names = list(methods)
    for repetition in range(repetitions):
        start = repetition * len(names) // repetitions
        for name in names[start:] + names[:start]:
            costs[name].add(methods[name])
    return costs
