"""Margin: how far the label's probability is ahead of the best other one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.core.numerics.predictions import probability_margins
from raysample.influence.scores.base import MeanScore
from raysample.influence.scores.window import LAST, CheckpointWindow
from raysample.influence.visits.artifacts import Artifacts


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return p_y − max_{c≠y} p_c, in [−1, 1], [B], for logits [B, C], labels [B] and p = softmax(z)."""
    return probability_margins(logits, labels)


@final
@dataclass(frozen=True)
class Margin(MeanScore):
    """Probability margin: mean over the checkpoints of p_y − max_{c≠y} p_c.

    Range [−1, 1]; 2 p_y − 1 for two classes; negative where the prediction is wrong; high is easier.

    Designed for: one checkpoint, the trained model, of one run. With `checkpoints: all` it is the accumulated margin of
    the code of CCS (Zheng et al., ICLR 2023, arXiv 2210.15809), which calls it AUM.

    Source: Scheffer, Decomain and Wrobel 2001, as taken up in DeepCore (Guo, Zhao and Bai 2022, arXiv 2204.08499).

    What differs: those take the two most probable classes, without the label; here it is the label against the rest.
    """

    name: ClassVar[str] = "margin"
    higher_is: ClassVar[Literal["harder", "easier"]] = "easier"
    label_error_rank: ClassVar[int] = 1

    checkpoints: CheckpointWindow = LAST

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the margin at one checkpoint, [B]."""
        return margin(seen.logits, seen.labels)
