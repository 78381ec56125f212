"""Two trainings of several processes each, both begun, of which one or the other goes on: turns of a few seconds.

What a host gives a virtual machine changes by a tenth and more within a minute, and workers on Ray take half a minute
to start: the ratios of whole trainings, one after the other, lie between 0.8 and 1.1. Turns of seconds meet both alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from threading import Event

import numpy as np
import psutil

from baselines.pace import Pace

SECONDS = 5.0
"""Of a turn: many steps, and less than any of Ray's timeouts."""
LEAST = 0.5
"""Of the steps in steady state must be comparable."""


@dataclass(frozen=True)
class Side:
    """One training.

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
    under_way = Event()
    run = pool.submit(side.run, under_way)
    while not under_way.wait(0.1):
        if run.done():
            run.result()
            raise RuntimeError("a training was over before it was under way: it needs more steps")
    return run


@contextmanager
def _resting(side: Side) -> Iterator[None]:
    """Stop the processes of one side meanwhile; those that have ended are left out."""
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


def over(one: Pace, other: Pace, first: int, seconds: float = SECONDS) -> float:
    """Return the steps per second of `one` over those of `other`, of the same steps from `first` (1, 2, ...) on.

    A step in which its training was stopped took longer than a turn, and tells nothing; it is left out of both.

    Raises:
        ValueError: that leaves too few, since turns are not much longer than steps.
    """
    took = np.diff([one.wall, other.wall])[:, first - 1 :]
    whole = (took < seconds).all(axis=0)
    if whole.mean() < LEAST:
        raise ValueError(f"{whole.sum()} of {len(whole)} steps were made without a stop: turns must be longer")
    ours, its = took[:, whole].sum(axis=1)
    return float(its / ours)
