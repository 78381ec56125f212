"""Loss: how surprised the trained model is by the label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.core.numerics.predictions import cross_entropies
from raysample.influence.scores.base import MeanScore
from raysample.influence.scores.window import LAST, CheckpointWindow
from raysample.influence.visits.artifacts import Artifacts


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return −ln softmax(z)_y in nats, [B], for logits [B, C] and labels [B]."""
    return cross_entropies(logits, labels)


@final
@dataclass(frozen=True)
class Loss(MeanScore):
    """Cross-entropy of the gold label: mean over the checkpoints of −ln p_y, in nats.

    Range [0, ∞); ln C for uniform logits over C classes; high is harder. By default the last checkpoint alone counts.

    Designed for: one checkpoint of one run. An early one tells wrong labels better, before the model has learnt them.

    Source: the usual baseline of data pruning, as in DeepCore (Guo, Zhao and Bai 2022, arXiv 2204.08499).
    """

    name: ClassVar[str] = "loss"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"
    label_error_rank: ClassVar[int] = 6

    checkpoints: CheckpointWindow = LAST

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the loss at one checkpoint, [B]."""
        return loss(seen.logits, seen.labels)
