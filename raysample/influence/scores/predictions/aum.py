"""AUM: how far the label's logit is ahead of the best other one, on average along the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.core.numerics.predictions import logit_margins
from raysample.influence.scores.base import MeanScore
from raysample.influence.visits.artifacts import Artifacts


def aum(logits: Tensor, labels: Tensor) -> Tensor:
    """Return z_y − max_{c≠y} z_c at one checkpoint, in (−∞, ∞), [B], for logits [B, C] and labels [B]."""
    return logit_margins(logits, labels)


@final
@dataclass(frozen=True)
class Aum(MeanScore):
    """Area under the margin: mean over the checkpoints of z_y − max_{c≠y} z_c, on logits.

    Range (−∞, ∞); high is easier, negative values point at wrong labels.

    Designed for: every presentation in the first part of one training run (until the learning rate first drops).

    Source: Pleiss et al., NeurIPS 2020, arXiv 2001.10528, section 3.

    What differs: they take the logits of the training passes; so does online capture (`score.source: capture`), while
    saved checkpoints are looked at in eval mode. Their threshold samples are not made here.
    """

    name: ClassVar[str] = "aum"
    higher_is: ClassVar[Literal["harder", "easier"]] = "easier"
    label_error_rank: ClassVar[int] = 3

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the logit margin at one checkpoint, [B]."""
        return aum(seen.logits, seen.labels)
