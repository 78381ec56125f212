"""Variability: how much the label's probability moves along the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.core.numerics.moments import RunningMoments
from raysample.core.numerics.predictions import gold_probabilities
from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores.base import Score
from raysample.influence.visits.artifacts import Artifacts


def variability(probabilities: RunningMoments) -> Tensor:
    """Return the population standard deviation (ddof 0) of gold probabilities [B] over the checkpoints, [B]."""
    return probabilities.deviation()


@final
@dataclass(frozen=True)
class Variability(Score[RunningMoments]):
    """Cartography's variability: population standard deviation (ddof 0) of p_y = softmax(z)_y over the checkpoints.

    Range [0, 1/2]; high is ambiguous, which counts as harder.

    Designed for: all epochs of one run, one look at each.

    Source: Swayamdipta et al., EMNLP 2020, arXiv 2009.10795, section 2, the standard deviation σ̂ over epochs.

    What differs: they log the training passes of each epoch; so does online capture (`score.source: capture`), while
    saved checkpoints are looked at in eval mode.
    """

    name: ClassVar[str] = "variability"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"
    min_checkpoints: ClassVar[int] = 2

    def init(self) -> RunningMoments:
        """Return the moments of nothing."""
        return RunningMoments()

    def fold(self, state: RunningMoments, seen: Artifacts, at: Checkpoint) -> RunningMoments:  # noqa: ARG002 - every checkpoint weighs the same
        """Add one checkpoint's gold probabilities."""
        return state.add(gold_probabilities(seen.logits, seen.labels))

    def value(self, state: RunningMoments) -> Tensor:
        """Return the standard deviation, [B]."""
        return variability(state)
