"""Early stopping: a run ends when the metric on held-out rows no longer improves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysample.core.config import EarlyStoppingConfig
from raysample.core.errors import TrainingError
from raysample.training.examples import Examples


def split_held_out(data: Examples, config: EarlyStoppingConfig, seed: int) -> tuple[Examples, Examples]:
    """Return the training rows, and the held-out rows that are evaluated after every epoch.

    A row is held out by a hash of its id and the seed: independent of the other rows and of their order.

    Raises:
        TrainingError: one of the two parts is empty.
    """
    held = np.array([_unit(str(row), seed) < config.holdout for row in data.ids], bool)
    if not 0 < held.sum() < len(data):
        raise TrainingError(
            f"of {len(data)} training rows {int(held.sum())} would be held out for early stopping",
            "give more rows, or another fine_tune.early_stopping.holdout",
        )
    return data.take(np.flatnonzero(~held)), data.take(np.flatnonzero(held))


def _unit(row: str, seed: int) -> float:
    """Return a hash of a row id and a seed as a number in [0, 1)."""
    digest = hashlib.blake2b(f"early-stopping:{seed}:{row}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


@dataclass
class Patience:
    """Counts the epochs without improvement; `history` are the values of the metric after each epoch so far."""

    config: EarlyStoppingConfig
    history: list[float] = field(default_factory=list)

    def exhausted(self, metrics: dict[str, float]) -> bool:
        """Add the metrics of one more epoch; return whether the run should end."""
        self.history.append(metrics[self.config.metric])
        return self.ends(self.history)

    def ends(self, history: Sequence[float]) -> bool:
        """Return whether the last `patience` epochs brought no improvement over the best before them."""
        signs: NDArray[Any] = np.asarray(history) * (-1 if self.config.metric == "nll" else 1)
        best, since = -np.inf, 0
        for value in signs:
            better = value > best + self.config.min_delta
            best, since = (value, 0) if better else (best, since + 1)
        return since >= self.config.patience
