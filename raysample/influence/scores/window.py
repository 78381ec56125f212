"""The window of checkpoints that a score uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from raysample.core.errors import CheckpointError, ScoreError
from raysample.data.checkpoint_set import Checkpoint

Counted = Literal["spread", "first", "last"]


@dataclass(frozen=True)
class CheckpointWindow:
    """All checkpoints, those with an epoch in `epochs` (both ends included), or `count` of them.

    `first` and `last` are the n at that end. `spread` are, for i = 1 to n, the first checkpoints at or after i/n of the
    run's steps: evenly over the run, whatever the density of its checkpoints, always with the last one. Of K evenly
    saved checkpoints these are the positions ⌈iK/n⌉, counted from 1.
    """

    kind: Literal["all", "epochs", "spread", "first", "last"] = "all"
    epochs: tuple[float, float] | None = None
    count: int = 1

    @staticmethod
    def parse(value: Any) -> CheckpointWindow:
        """Read `all`, `last`, `{"epochs": [low, high]}`, or `{"spread": n}`, `{"first": n}`, `{"last": n}`.

        Raises:
            ScoreError: anything else.
        """
        if isinstance(value, CheckpointWindow):
            return value
        if value in ("all", "last"):
            return CheckpointWindow(value)
        if isinstance(value, dict) and len(value) == 1:
            ((kind, given),) = value.items()
            if kind == "epochs" and _is_range(given):
                return CheckpointWindow("epochs", (float(given[0]), float(given[1])))
            if kind in get_args(Counted) and type(given) is int and given >= 1:
                return CheckpointWindow(kind, count=given)
        raise ScoreError(
            f"{value!r} does not say which checkpoints a score uses",
            "write checkpoints: all, checkpoints: last, checkpoints: {epochs: [1, 3]} with 0 <= low <= high, or "
            "checkpoints: {spread: 3}, {first: 3} or {last: 3} with a whole number of 1 or more",
        )

    def select(self, checkpoints: Sequence[Checkpoint]) -> tuple[int, ...]:
        """Return the positions of the checkpoints in the window, possibly none.

        An epoch counts as reached within half an optimiser step, since epochs are quotients of whole steps.

        Raises:
            CheckpointError: the window needs more checkpoints than the run has.
        """
        if self.kind in ("all", "epochs"):
            return tuple(i for i, checkpoint in enumerate(checkpoints) if self._holds(checkpoint))
        return self._counted(checkpoints)

    def _counted(self, checkpoints: Sequence[Checkpoint]) -> tuple[int, ...]:
        """Return the positions for a window with a number of checkpoints."""
        n, there = self.count, len(checkpoints)
        if n > there and self != LAST:
            raise CheckpointError(
                f"the window {self} asks for {n} checkpoints, and the run has {there}",
                "ask for fewer in the option `checkpoints`, or fine-tune with more (fine_tune.checkpoints)",
            )
        if self.kind == "spread":
            return self._spread([checkpoint.step for checkpoint in checkpoints])
        return tuple(range(there))[:n] if self.kind == "first" else tuple(range(there))[-n:]

    def _spread(self, steps: Sequence[int]) -> tuple[int, ...]:
        """Return the positions; a step counts as reached half a step before, since checkpoints are at whole steps."""
        n, last = self.count, steps[-1]
        found = [next(k for k, step in enumerate(steps) if (step + 0.5) * n >= i * last) for i in range(1, n + 1)]
        if len(set(found)) < n:
            raise CheckpointError(
                f"the window {self} asks for {n} checkpoints evenly over the run, and where it was saved seldom two of "
                f"them fall on one (the steps are {', '.join(map(str, steps))})",
                "ask for fewer in the option `checkpoints`, or fine-tune with more (fine_tune.checkpoints)",
            )
        return tuple(found)

    def _holds(self, checkpoint: Checkpoint) -> bool:
        """Return whether the epoch of a checkpoint is in the window, within half a step."""
        if self.epochs is None:
            return True
        half_step = checkpoint.epoch / checkpoint.step / 2 if checkpoint.step else 0.0
        return self.epochs[0] - half_step <= checkpoint.epoch <= self.epochs[1] + half_step

    def to_config(self) -> str | dict[str, Any]:
        """Return the form that `parse` reads."""
        if self.epochs is not None:
            return {"epochs": list(self.epochs)}
        return self.kind if self in (ALL, LAST) else {self.kind: self.count}

    def __str__(self) -> str:
        if self.epochs is not None:
            return f"epochs {self.epochs[0]:g} to {self.epochs[1]:g}"
        return self.kind if self in (ALL, LAST) else f"{self.kind} {self.count}"


ALL = CheckpointWindow()
LAST = CheckpointWindow("last")
EARLY = CheckpointWindow("epochs", (1.0, 3.0))


def _is_range(value: Any) -> bool:
    """Return whether a value is a pair of numbers 0 <= low <= high."""
    numbers = isinstance(value, (list, tuple)) and len(value) == 2 and all(type(x) in (int, float) for x in value)
    return numbers and 0 <= value[0] <= value[1]
