"""Timing by turns: every method runs once per repetition, and ratios are taken within each repetition.

Ratios are of the process's CPU seconds in one thread, which leave out the time in which others have the core (but not
what others take of caches and memory).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from raysample.core.progress import Bar, SilentReporter


@dataclass(frozen=True)
class Cost:
    """CPU and wall seconds of a method at each repetition, for `rows` rows."""

    rows: int
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def add(self, run: Callable[[], object]) -> None:
        """Run a method once and keep its seconds."""
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        self.cpu.append(time.process_time() - cpu)
        self.wall.append(time.perf_counter() - wall)

    def over(self, other: Cost) -> dict[str, float]:
        """Return the seconds per row over those of `other`, repetition by repetition.

        If one was timed less often than the other (a slow peer), its median stands for the missing repetitions.
        """
        count = max(len(self.cpu), len(other.cpu))
        one, two = (np.array([*cost.cpu, *[median(cost.cpu)] * (count - len(cost.cpu))]) for cost in (self, other))
        return spread(one / self.rows / (two / other.rows))

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


class StepReporter(SilentReporter):
    """Calls a function with the number of steps done, at every step of a training."""

    def __init__(self, note: Callable[[float], None]) -> None:
        super().__init__()
        self.note = note

    @contextmanager
    def bar(self, *_: object) -> Iterator[Bar]:
        """Watch this piece of work, the only one."""
        yield self

    def to(self, done: float, _note: str = "") -> None:
        """Pass the number on."""
        self.note(done)


def spread(values: Iterable[float], digits: int = 4) -> dict[str, float]:
    """Return median, lowest and highest."""
    ordered = sorted(map(float, values))
    found = {"median": median(ordered), "lowest": ordered[0], "highest": ordered[-1]}
    return {what: round(value, digits) for what, value in found.items()}


def take_turns(names: Iterable[str], repetitions: int) -> Iterator[str]:
    """Yield every name once per repetition; each repetition starts at another one."""
    order = list(names)
    for repetition in range(repetitions):
        start = repetition * len(order) // repetitions
        yield from order[start:] + order[:start]


def measure(methods: Mapping[str, Callable[[], object]], rows: int, repetitions: int) -> dict[str, Cost]:
    """Run every method once per repetition and return what each costs."""
    costs = {name: Cost(rows) for name in methods}
    for name in take_turns(methods, repetitions):
        costs[name].add(methods[name])
    return costs
