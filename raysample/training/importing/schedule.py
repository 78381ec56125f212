"""Epochs and learning rates of checkpoints, from a training's log."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LINEAR = 1e-6


@dataclass(frozen=True)
class Schedule:
    """The log of a training by optimiser step: `rates` and `epochs`, and `losses`, which identify the training."""

    rates: Mapping[int, float] = field(default_factory=dict)
    epochs: Mapping[int, float] = field(default_factory=dict)
    losses: Mapping[int, str] = field(default_factory=dict)

    @staticmethod
    def from_trainer_state(state: Mapping[str, Any]) -> Schedule:
        """Read the `log_history` of a `trainer_state.json`."""
        rows = [row for row in state.get("log_history", []) if isinstance(row.get("step"), int)]
        rates = {row["step"]: float(row["learning_rate"]) for row in rows if "learning_rate" in row}
        epochs = {row["step"]: float(row["epoch"]) for row in rows if row.get("epoch") is not None}
        losses = {row["step"]: repr(row["loss"]) for row in rows if "loss" in row}
        return Schedule(rates, epochs, losses)

    def begins(self, other: Schedule, step: int) -> bool:
        """Return whether two logs agree up to a step, where both have an entry."""
        return all(
            mine[at] == its[at]
            for mine, its in ((self.rates, other.rates), (self.losses, other.losses))
            for at in mine.keys() & its.keys()
            if at <= step
        )

    def rate(self, step: int) -> tuple[float, str]:
        """Return the learning rate of a step and a description of its source; NaN if nothing was logged before it.

        The rate logged for this step; else, between two logged steps that are on a line with a neighbouring third one,
        the rate on that line (exact unless the schedule has two corners there); else the rate of the last step logged
        before.
        """
        if step in self.rates:
            return self.rates[step], ""
        steps = sorted(self.rates)
        at = bisect.bisect(steps, step)
        if 0 < at < len(steps):
            near = [steps[i] for i in range(max(0, at - 2), min(len(steps), at + 2))]
            a, b = steps[at - 1], steps[at]
            if any(self._on_a_line(a, b, other) for other in near if other not in (a, b)):
                return self._between(a, b, step), f"on the line between steps {a} and {b}"
        if at == 0:
            return math.nan, "not logged"
        return self.rates[steps[at - 1]], f"of step {steps[at - 1]}, the last one logged before"

    def _between(self, a: int, b: int, at: int) -> float:
        """Return the rate at step `at` on the line through the logged steps a and b."""
        return self.rates[a] + (self.rates[b] - self.rates[a]) * (at - a) / (b - a)

    def _on_a_line(self, a: int, b: int, other: int) -> bool:
        """Return whether the rate of a third logged step is on the line through a and b."""
        return math.isclose(
            self._between(a, b, other), self.rates[other], rel_tol=LINEAR, abs_tol=LINEAR * max(self.rates.values())
        )
