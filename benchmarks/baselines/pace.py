"""How fast a training went: a stamp after every step, and what the steps do not explain."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Clock = Literal["wall", "cpu"]


@dataclass
class Watch:
    """Notes the loss and both clocks after every step."""

    losses: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    def step(self, loss: float) -> None:
        """Note that a step is done."""
        self.losses.append(loss)
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())

    def pace(self) -> Pace:
        """Return what was noted; the training is over now."""
        return Pace(self.losses, self.wall, self.cpu, time.perf_counter() - self.began)


@dataclass(frozen=True)
class Pace:
    """One training.

    Attributes:
        losses: of every step: the mean over its rows.
        wall, cpu: seconds on the clock after every step, from any origin; `cpu` is None where nobody looked.
        whole: seconds of everything, from the call until the model was there.
        around: of these what Ray Train took before and after its worker's function; None where there is none.
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
        """Seconds that would not have gone by if there had been nothing but steps at the steady pace."""
        return self.whole - len(self.wall) * self.seconds()

    def apart(self, other: Pace) -> float:
        """Return the largest difference between the losses of a step; infinite where one of them is no number."""
        if len(self.losses) != len(other.losses):
            return float("inf")
        apart = float(np.abs(np.subtract(self.losses, other.losses)).max())
        return apart if np.isfinite(apart) else float("inf")


def over(one: Sequence[Pace], other: Sequence[Pace], clock: Clock) -> list[float]:
    """Return the steps per second of `one` over those of `other`, repetition by repetition."""
    return [b.seconds(clock) / a.seconds(clock) for a, b in zip(one, other, strict=True)]
