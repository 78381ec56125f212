"""Entropy: how undecided the trained model is, whatever the label says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.core.numerics.predictions import entropies
from raysample.influence.scores.base import MeanScore
from raysample.influence.scores.window import LAST, CheckpointWindow
from raysample.influence.visits.artifacts import Artifacts


def entropy(logits: Tensor) -> Tensor:
    """Return −Σ_c p_c ln p_c in nats, in [0, ln C], [B], for logits [B, C] and p = softmax(z)."""
    return entropies(logits)


@final
@dataclass(frozen=True)
class Entropy(MeanScore):
    """Entropy of the prediction: mean over the checkpoints of −Σ_c p_c ln p_c, in nats.

    Range [0, ln C]; ln C for uniform logits; high is harder. It does not look at the label: a row that the model gets
    wrong with certainty has entropy 0.

    Designed for: one checkpoint, the trained model, of one run.

    Source: Coleman et al., ICLR 2020, arXiv 1906.11829 (uncertainty of a proxy), and DeepCore (Guo, Zhao and Bai 2022,
    arXiv 2204.08499).
    """

    name: ClassVar[str] = "entropy"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"
    uses_label: ClassVar[bool] = False

    checkpoints: CheckpointWindow = LAST

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the entropy at one checkpoint, [B]."""
        return entropy(seen.logits)
