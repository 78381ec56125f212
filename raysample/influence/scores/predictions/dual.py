"""DUAL: how much the label's probability moves, weighed by how low it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.core.numerics.predictions import gold_probabilities
from raysample.core.numerics.windows import SlidingMean
from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores.base import Score
from raysample.influence.visits.artifacts import Artifacts


def dual(window: Tensor) -> Tensor:
    """Return std · (1 − mean), the std with ddof 1, of the gold probabilities of J consecutive checkpoints [J, B], [B].

    In [0, √(J / (4 (J − 1)))].
    """
    return window.std(0) * (1 - window.mean(0))


@final
@dataclass(frozen=True)
class Dual(Score[SlidingMean]):
    """Difficulty and uncertainty: mean over all windows of J consecutive checkpoints of std(p_y) · (1 − mean(p_y)).

    Range [0, √(J / (4 (J − 1)))], below √½; high is harder: uncertain, and rarely right.

    `window` is J; with fewer checkpoints one window holds them all.

    Designed for: the first part of one run (30 of 200 epochs), with J = 10.

    Source: Cho et al., ICML 2025, arXiv 2502.06905.

    What differs: J is 5, so that a run of ten checkpoints has several windows, and all checkpoints count, since a
    fine-tuning is short; `checkpoints: {first: n}` takes the beginning. Their code multiplies by ten. Their beta
    sampling is a policy's business.
    """

    name: ClassVar[str] = "dual"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"
    fewest: ClassVar[int] = 2
    least: ClassVar[dict[str, float]] = {"window": 2}

    window: int = 5

    def init(self) -> SlidingMean:
        """Return the state before any checkpoint."""
        return SlidingMean(self.window)

    def fold(self, state: SlidingMean, seen: Artifacts, at: Checkpoint) -> SlidingMean:  # noqa: ARG002 - only their order matters
        """Add one checkpoint's gold probabilities."""
        return state.add(gold_probabilities(seen.logits, seen.labels), dual)

    def value(self, state: SlidingMean) -> Tensor:
        """Return the mean of the windows, [B]."""
        return state.mean(dual)
