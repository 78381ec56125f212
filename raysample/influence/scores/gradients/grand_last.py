"""GraNd of the last layer: the gradient norm of the classifier's own weights, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.core.numerics.predictions import last_layer_norms
from raysample.influence.scores.base import MeanScore
from raysample.influence.scores.window import EARLY, CheckpointWindow
from raysample.influence.visits.artifacts import Artifacts, Need


def grand_last(logits: Tensor, labels: Tensor, features: Tensor) -> Tensor:
    """Return ‖softmax(z) − onehot(y)‖₂ · √(1 + ‖h‖²), in [0, ∞), [B]: the gradient norm of a last layer z = Wh + b.

    Logits z [B, C], labels y [B], features h [B, H].
    """
    return last_layer_norms(logits, labels, features)


@final
@dataclass(frozen=True)
class GrandLast(MeanScore):
    """Gradient norm of the last linear layer: mean over the checkpoints of ‖p − onehot(y)‖₂ · √(1 + ‖h‖²).

    h is the layer's input and z = Wh + b: ∂ℓ/∂W = (p − y) hᵀ and ∂ℓ/∂b = p − y give the closed form, at the cost of a
    forward. The layer's weight and bias count whether they are frozen or not.

    Range [0, ∞); high is harder.

    Designed for: after the first epoch, the mean of five runs.

    Source: Fayyaz et al., ENLSP 2022, arXiv 2211.05610, who take the classifier alone; the score as such is that of
    Paul, Ganguli and Dziugaite, NeurIPS 2021, arXiv 2107.07075. DeepCore's GraNd is this.

    What differs: the checkpoints of epochs 1 to 3 are averaged. For a head of several layers only the last one counts.
    """

    name: ClassVar[str] = "grand_last"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"
    designed_runs: ClassVar[int] = 5

    checkpoints: CheckpointWindow = EARLY

    @property
    def needs(self) -> Need:
        """The logits and the classifier's input."""
        return Need.LOGITS | Need.FEATURES

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the gradient norm at one checkpoint, [B]."""
        assert seen.features is not None
        return grand_last(seen.logits, seen.labels, seen.features)
