"""How fast a training goes, and turns of a few seconds between two trainings that are both under way.

What a host gives a virtual machine changes by a tenth and more within a minute, and workers on Ray take half a minute
to start: the ratios of whole trainings, one after the other, lie between 0.8 and 1.1. Turns of seconds meet both alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from threading import Event
from typing import Literal

import numpy as np
import psutil

Clock = Literal["wall", "cpu"]
SECONDS = 5.0
"""Of a turn: many steps, and less than any of Ray's timeouts."""
LEAST = 0.5
"""The smallest share of the steps in steady state that must be comparable."""


@dataclass(frozen=True)
class Pace:
    """One training.

    Attributes:
        losses: of every step: the mean over its rows.
        wall, cpu: seconds on the clock at every step, from any origin; `cpu` is None if it was not measured.
        whole: seconds of everything, from the call until the model was there.
        around: of these what Ray Train took before and after its worker's function; None without Ray Train.
    """

    losses: Sequence[float]
    wall: Sequence[float]
    cpu: Sequence[float] | None
    whole: float
    around: float | None = None

    def seconds(self, clock: Clock = "wall") -> float:
        """Return the seconds of a step in steady state: the mean over the second half of the steps.

        The first ones allocate the optimiser's state and fill the caches, and beside them Ray Train still starts actors
        of its own, which is start-up as well.
        """
        stamps = self.wall if clock == "wall" else self.cpu
        assert stamps is not None
        half = len(stamps) // 2
        return (stamps[-1] - stamps[half - 1]) / (len(stamps) - half)

    @property
    def start_up(self) -> float:
        """Seconds beyond those that all steps take at the steady pace."""
        return self.whole - len(self.wall) * self.seconds()

    def difference(self, other: Pace) -> float:
        """Return the largest difference between the losses of a step; infinite if one of them is no number."""
        if len(self.losses) != len(other.losses):
            return float("inf")
        found = float(np.abs(np.subtract(self.losses, other.losses)).max())
        return found if np.isfinite(found) else float("inf")


@dataclass
class Watch:
    """Notes the loss and both clocks at every step."""

    losses: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    def step(self, loss: float) -> None:
        """Note a step."""
        self.losses.append(loss)
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())

    def pace(self) -> Pace:
        """Return what was noted, at the end of the training."""
        return Pace(self.losses, self.wall, self.cpu, time.perf_counter() - self.began)


def over(one: Sequence[Pace], other: Sequence[Pace], clock: Clock) -> list[float]:
    """Return the steps per second of `one` over those of `other`, repetition by repetition."""
    return [b.seconds(clock) / a.seconds(clock) for a, b in zip(one, other, strict=True)]


@dataclass(frozen=True)
class Side:
    """One of two trainings that take turns.

    Attributes:
        run: trains, and sets the event as soon as it is under way.
        processes: returns those that train, and those that are there only for them.
    """

    run: Callable[[Event], Pace]
    processes: Callable[[], Sequence[psutil.Process]]


def alternate(one: Side, other: Side, seconds: float = SECONDS) -> tuple[Pace, Pace]:
    """Get one under way, then the other, then let them take turns until one of them is done; the other goes on alone.

    Raises:
        RuntimeError: one was done before it was under way.
    """
    with ThreadPoolExecutor(2) as pool:
        first = _begun(pool, one)
        with _resting(one):
            second = _begun(pool, other)
        for side in cycle((other, one)):
            with _resting(side):
                done, _ = wait((first, second), seconds, FIRST_COMPLETED)
            if done:
                return first.result(), second.result()
    raise AssertionError("a cycle has no end")


def _begun(pool: ThreadPoolExecutor, side: Side) -> Future[Pace]:
    """Start a training; return when it is under way."""
    under_way = Event()
    run = pool.submit(side.run, under_way)
    while not under_way.wait(0.1):
        if run.done():
            run.result()
            raise RuntimeError("a training was over before it was under way: it needs more steps")
    return run


@contextmanager
def _resting(side: Side) -> Iterator[None]:
    """Stop the processes of one side meanwhile; processes that have ended are left out."""
    held = list(side.processes())
    for process in held:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        yield
    finally:
        for process in held:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def over_in_turns(one: Pace, other: Pace, first: int, seconds: float = SECONDS) -> float:
    """Return the steps per second of `one` over those of `other`, of the same steps from `first` (1, 2, ...) on.

    A step in which its training was stopped took longer than a turn; it is left out of both.

    Raises:
        ValueError: that leaves too few, since turns are not much longer than steps.
    """
    took = np.diff([one.wall, other.wall])[:, first - 1 :]
    whole = (took < seconds).all(axis=0)
    if whole.mean() < LEAST:
        raise ValueError(f"{whole.sum()} of {len(whole)} steps were made without a stop: turns must be longer")
    ours, its = took[:, whole].sum(axis=1)
    return float(its / ours)
