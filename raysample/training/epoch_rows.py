"""The rows of each epoch: all training rows in every epoch, or a sample that is drawn anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raysample.core.arrays import IntArray
from raysample.core.config import FineTuneConfig
from raysample.training.batch_order import batches
from raysample.training.examples import Examples
from raysample.training.schedule import TrainingSchedule


@dataclass(frozen=True)
class EpochRows:
    """Samples of the same rows, one for each epoch, with the same number of rows each.

    Attributes:
        data: the rows that samples are taken from, without weights.
        places: per epoch the positions [n] of its rows in `data`.
        weights: per epoch the weights [n] of its rows, of mean 1; None for equal weights.
    """

    data: Examples
    places: tuple[IntArray, ...]
    weights: tuple[NDArray[np.float32] | None, ...]

    def __len__(self) -> int:
        """Return the number of rows of an epoch."""
        return len(self.places[0])

    def of_epoch(self, epoch: int) -> Examples:
        """Return the weighted rows of an epoch, counted from 0, without copying their tokens."""
        return replace(self.data.take(self.places[epoch]), weights=self.weights[epoch])


def epoch_batches(
    data: Examples | EpochRows, config: FineTuneConfig, layout: TrainingSchedule, start: int = 0
) -> Iterator[tuple[Examples, IntArray]]:
    """Yield the rows of the epoch and the positions of a global batch in them, for every step from `start` on.

    The batches of an epoch are those of `batches`, for a sample as for a fixed selection of as many rows: they depend
    on seed, epoch and the rows of that epoch alone, so a run resumes at any step.
    """
    for epoch in range(start // layout.steps_per_epoch, layout.passes):
        rows = data if isinstance(data, Examples) else data.of_epoch(epoch)
        lengths = rows.encoded.lengths if config.group_by_length else None
        first = epoch * layout.steps_per_epoch
        end = min(first + layout.steps_per_epoch, layout.steps)
        for batch in batches(len(rows), config.batch_size, config.seed, end, lengths, max(start, first)):
            yield rows, batch
