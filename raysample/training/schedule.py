"""The steps of a run, the steps that leave a checkpoint, and the context of a worker."""

from __future__ import annotations

import math
from dataclasses import dataclass

from raysample.core.config import FineTuneConfig


@dataclass(frozen=True)
class TrainingSchedule:
    """The steps of a run and those after which a checkpoint is saved (1-based)."""

    steps_per_epoch: int
    steps: int
    save_at: tuple[int, ...]

    @property
    def passes(self) -> int:
        """Number of passes over the rows, the last of which may be incomplete."""
        return math.ceil(self.steps / self.steps_per_epoch)

    def epoch(self, step: int) -> float:
        """Return the fractional epoch after `step` steps."""
        return step / self.steps_per_epoch


@dataclass(frozen=True)
class DistributedContext:
    """The rank of a worker, the number of workers, and its device."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"


def schedule_training(rows: int, config: FineTuneConfig, steps: int | None = None) -> TrainingSchedule:
    """Return the schedule of a run: E = ⌈rows / batch⌉ steps per epoch, ⌈`share_of_steps` · E · epochs⌉ in all.

    Checkpoints as configured, by default ten over the run.

    Additionally n `early_checkpoints` in the first epoch of E steps: after round(E^(i/n)) steps for i = 1 to n.

    Args:
        rows: training rows.
        config: the recipe.
        steps: a fixed number of steps instead of epochs (`equal_steps` of a comparison).
    """
    per_epoch = math.ceil(rows / config.batch_size)
    total = steps if steps is not None else math.ceil(config.share_of_steps * per_epoch * config.epochs)
    if config.checkpoint_every is not None:
        save = set(range(config.checkpoint_every, total + 1, config.checkpoint_every)) | {total}
    else:
        count = config.checkpoints or 10
        if config.checkpoints_per_epoch is not None:
            count = config.checkpoints_per_epoch * math.ceil(total / per_epoch)
        save = {max(1, round(total * (i + 1) / count)) for i in range(count)}
    save |= _early(min(per_epoch, total), config.early_checkpoints or 0)
    return TrainingSchedule(per_epoch, total, tuple(sorted(save)))


def _early(last: int, count: int) -> set[int]:
    """Return the steps of `count` early checkpoints, spaced geometrically from 1 to `last`."""
    return {max(1, round(last ** (i / count))) for i in range(1, count + 1)}
