"""Dyn-Unc: how much the label's probability moves within stretches of the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.core.numerics.predictions import gold_probabilities
from raysample.core.numerics.windows import SlidingMean
from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores.base import Score
from raysample.influence.visits.artifacts import Artifacts


def dyn_unc(window: Tensor) -> Tensor:
    """Return the standard deviation (ddof 1) of the gold probabilities of J consecutive checkpoints [J, B], [B].

    In [0, √(J / (4 (J − 1)))].
    """
    return window.std(0)


@final
@dataclass(frozen=True)
class DynUnc(Score[SlidingMean]):
    """Dynamic uncertainty: mean over all windows of J consecutive checkpoints of the deviation (ddof 1) of p_y there.

    Range [0, √(J / (4 (J − 1)))], that is at most √½ (J = 2); high is harder.

    `window` is J; with fewer checkpoints one window holds them all, and the score ranks exactly as `variability` does.

    Designed for: the checkpoints of all epochs of one run, a hundred or so, with J = 10.

    Source: He et al., CVPR 2024, arXiv 2306.05175, section 3.

    What differs: J is 5, so that a run of ten checkpoints has several windows. Their code multiplies by ten, and leaves
    out the last window.
    """

    name: ClassVar[str] = "dyn_unc"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"
    fewest: ClassVar[int] = 2
    least: ClassVar[dict[str, float]] = {"window": 2}

    window: int = 5

    def init(self) -> SlidingMean:
        """Return the state before any checkpoint."""
        return SlidingMean(self.window)

    def fold(self, state: SlidingMean, seen: Artifacts, at: Checkpoint) -> SlidingMean:  # noqa: ARG002 - only their order matters
        """Add one checkpoint's gold probabilities."""
        return state.add(gold_probabilities(seen.logits, seen.labels), dyn_unc)

    def value(self, state: SlidingMean) -> Tensor:
        """Return the mean deviation, [B]."""
        return state.mean(dyn_unc)
