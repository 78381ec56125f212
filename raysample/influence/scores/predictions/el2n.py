"""EL2N: how far the predicted distribution is from the label, early in the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.core.numerics.predictions import error_norms
from raysample.influence.scores.base import MeanScore
from raysample.influence.scores.window import EARLY, CheckpointWindow
from raysample.influence.visits.artifacts import Artifacts


def el2n(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ‖softmax(z) − onehot(y)‖₂ in [0, √2], [B], for logits [B, C] and labels [B]."""
    return error_norms(logits, labels)


@final
@dataclass(frozen=True)
class El2n(MeanScore):
    """Error L2 norm: mean over the checkpoints of ‖softmax(z) − onehot(y)‖₂.

    Range [0, √2]; √(1 − 1/C) for uniform logits over C classes, √2 (1 − p_y) for two classes; high is harder.

    Designed for: early in the training (epoch 20 of 200 in its source, epoch 2 of 10 in arXiv 2311.16298), the mean of
    ten runs.

    Source: Paul, Ganguli and Dziugaite, NeurIPS 2021, arXiv 2107.07075, section 2.

    What differs: the checkpoints in epochs 1 to 3 are averaged (option `checkpoints`), of one run or several. Scores
    of a fine-tuning taken before the first epoch ends rank whole classes as hard (Fayyaz et al. 2022, arXiv
    2211.05610), and late ones no longer tell easy examples apart.
    """

    name: ClassVar[str] = "el2n"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"
    label_error_rank: ClassVar[int] = 4
    designed_runs: ClassVar[int] = 10

    checkpoints: CheckpointWindow = EARLY

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the error norm at one checkpoint, [B]."""
        return el2n(seen.logits, seen.labels)
