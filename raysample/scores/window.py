"""Which checkpoints of a run a score looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from raysample.checkpoints import Checkpoint
from raysample.errors import ScoreError


@dataclass(frozen=True)
class Window:
    """All checkpoints, the last one, or those whose epoch lies in `epochs` (both ends included)."""

    kind: Literal["all", "last", "epochs"] = "all"
    epochs: tuple[float, float] | None = None

    @staticmethod
    def parse(value: Any) -> Window:
        """Read `all`, `last` or `{"epochs": [low, high]}`; raises ScoreError for anything else."""
        if isinstance(value, Window):
            return value
        if value in ("all", "last"):
            return Window(value)
        if isinstance(value, dict) and set(value) == {"epochs"} and _is_range(value["epochs"]):
            low, high = value["epochs"]
            return Window("epochs", (float(low), float(high)))
        raise ScoreError(
            f"{value!r} does not say which checkpoints a score uses",
            "write checkpoints: all, checkpoints: last, or checkpoints: {epochs: [1, 3]} with 0 <= low <= high",
        )

    def select(self, checkpoints: Sequence[Checkpoint]) -> tuple[int, ...]:
        """Return the positions of the checkpoints in the window, which may be none.

        An epoch counts as reached within half an optimiser step, since epochs are quotients of whole steps.
        """
        if self.kind == "last":
            return tuple(range(len(checkpoints)))[-1:]
        return tuple(i for i, checkpoint in enumerate(checkpoints) if self._holds(checkpoint))

    def _holds(self, checkpoint: Checkpoint) -> bool:
        if self.epochs is None:
            return True
        half_step = checkpoint.epoch / checkpoint.step / 2 if checkpoint.step else 0.0
        return self.epochs[0] - half_step <= checkpoint.epoch <= self.epochs[1] + half_step

    def plain(self) -> str | dict[str, list[float]]:
        """Return the form that `parse` reads."""
        return self.kind if self.epochs is None else {"epochs": list(self.epochs)}

    def __str__(self) -> str:
        return self.kind if self.epochs is None else f"epochs {self.epochs[0]:g} to {self.epochs[1]:g}"


ALL = Window()
LAST = Window("last")
EARLY = Window("epochs", (1.0, 3.0))


def _is_range(value: Any) -> bool:
    numbers = isinstance(value, (list, tuple)) and len(value) == 2 and all(type(x) in (int, float) for x in value)
    return numbers and 0 <= value[0] <= value[1]
