"""Tokenised, labelled rows in memory, and mini-batches of them on a device."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysample.core.arrays import IntArray
from raysample.core.config import FineTuneConfig
from raysample.models import Encoded, pad
from raysample.training.levels import LevelLabels


@dataclass(frozen=True)
class Examples:
    """Tokenised, labelled rows in memory: token ids per row, int64 labels [N], the tokenizer's padding id, row ids.

    `weights` [N] float32 multiply the losses of the rows and have mean 1; None means equal weights. `levels` are the
    labels of all levels of a hierarchical label, if several have a head.
    """

    encoded: Encoded
    labels: IntArray
    pad_id: int
    ids: NDArray[np.object_]
    weights: NDArray[np.float32] | None = None
    levels: LevelLabels | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: IntArray) -> Examples:
        """Return some of the rows, in the given order."""
        weights = None if self.weights is None else self.weights[rows]
        levels = None if self.levels is None else self.levels.take(rows)
        return Examples(self.encoded.take(rows), self.labels[rows], self.pad_id, self.ids[rows], weights, levels)

    def headed(self, config: FineTuneConfig) -> Examples:
        """Return the rows with the labels of those levels that have a head, and the weights of their losses."""
        return self if self.levels is None else replace(self, levels=self.levels.wanted(config))

    def weighted(self, weights: NDArray[np.float32]) -> Examples:
        """Return the rows with weights [N], divided by their mean; unchanged if all weights are equal.

        With mean 1 the step size does not depend on the share of rows that was kept.
        """
        if len(weights) == 0 or (weights == weights[0]).all():
            return self
        return replace(self, weights=(weights / weights.mean(dtype=np.float64)).astype(np.float32))


def batch(data: Examples, rows: IntArray, device: str) -> tuple[dict[str, Tensor], Tensor]:
    """Return the padded inputs and the labels of some rows on a device."""
    inputs = {name: value.to(device) for name, value in pad(data.encoded, rows, data.pad_id).items()}
    return inputs, torch.from_numpy(data.labels[rows]).to(device)
