"""Base of scores that are the mean of a statistic of the gold probabilities over windows of checkpoints."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from raysample.core.numerics.predictions import gold_probabilities
from raysample.core.numerics.windows import SlidingMean
from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores.base import Score
from raysample.influence.visits.artifacts import Artifacts


@dataclass(frozen=True)
class WindowScore(Score[SlidingMean]):
    """Mean of a statistic over all windows of J = `window` consecutive checkpoints.

    With fewer than J checkpoints one window holds them all.
    """

    min_checkpoints: ClassVar[int] = 2
    min_values: ClassVar[Mapping[str, float]] = {"window": 2}

    window: int = 5

    @abstractmethod
    def of_window(self, probabilities: Tensor) -> Tensor:
        """Return the statistic of the gold probabilities of one window, [J, B] -> [B]."""

    def init(self) -> SlidingMean:
        """Return the state before any checkpoint."""
        return SlidingMean(self.window)

    def fold(self, state: SlidingMean, seen: Artifacts, at: Checkpoint) -> SlidingMean:  # noqa: ARG002 - only their order matters
        """Add one checkpoint's gold probabilities."""
        return state.add(gold_probabilities(seen.logits, seen.labels), self.of_window)

    def value(self, state: SlidingMean) -> Tensor:
        """Return the mean over the windows, [B]."""
        return state.mean(self.of_window)
