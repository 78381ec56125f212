"""Confidence: how probable the label is to the model, on average along the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.core.numerics.predictions import gold_probabilities
from raysample.influence.scores.base import MeanScore
from raysample.influence.visits.artifacts import Artifacts


def confidence(logits: Tensor, labels: Tensor) -> Tensor:
    """Return p_y = softmax(z)_y at one checkpoint, in [0, 1], [B], for logits [B, C] and labels [B]."""
    return gold_probabilities(logits, labels)


@final
@dataclass(frozen=True)
class Confidence(MeanScore):
    """Cartography's confidence: mean over the checkpoints of p_y = softmax(z)_y.

    Range [0, 1]; high is easier.

    Designed for: all epochs of one run, one look at each.

    Source: Swayamdipta et al., EMNLP 2020, arXiv 2009.10795, section 2, the mean μ̂ over epochs.

    What differs: they log the training passes of each epoch; so does online capture (`score.source: capture`), while
    saved checkpoints are looked at in eval mode.
    """

    name: ClassVar[str] = "confidence"
    higher_is: ClassVar[Literal["harder", "easier"]] = "easier"
    label_error_rank: ClassVar[int] = 5

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the gold probability at one checkpoint, [B]."""
        return confidence(seen.logits, seen.labels)
