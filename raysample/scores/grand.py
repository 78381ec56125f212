"""GraNd: the length of the step that an example alone would make the model take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.artifacts import Artifacts, Need
from raysample.numerics.predictions import error_norms
from raysample.scores.base import MeanScore
from raysample.scores.window import EARLY, Window


def classifier_grand(logits: Tensor, labels: Tensor, features: Tensor) -> Tensor:
    """Return ‖softmax(z) − onehot(y)‖₂ · √(1 + ‖h‖²), [B]: the gradient norm of a last layer z = Wh + b alone.

    Logits [B, C], labels [B], features h [B, H]. Follows from ∂ℓ/∂W = (p − y) hᵀ and ∂ℓ/∂b = p − y.
    """
    return error_norms(logits, labels) * (1 + features.square().sum(1)).sqrt()


@final
@dataclass(frozen=True)
class Grand(MeanScore):
    """Gradient norm: mean over the checkpoints of ‖∇_w ℓ(w, x, y)‖₂, ℓ the cross-entropy in nats, in eval mode.

    Range [0, ∞); high is harder. `parameters: all` takes every parameter with `requires_grad`; `classifier` takes the
    last linear layer in closed form, at the cost of a forward.

    Source: Paul, Ganguli and Dziugaite, NeurIPS 2021, arXiv 2107.07075, section 2.

    What differs: they average over ten runs and propose it at initialisation, where it did not reproduce (Kirsch 2023,
    arXiv 2303.14753); here the checkpoints of one run in epochs 1 to 3 are averaged, since top sets taken earlier are
    imbalanced in fine-tuning (Fayyaz et al. 2022, arXiv 2211.05610, who use the classifier only).
    """

    name: ClassVar[str] = "grand"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"

    checkpoints: Window = EARLY
    parameters: Literal["all", "classifier"] = "all"

    @property
    def needs(self) -> Need:
        """Gradient norms, or the classifier's input where its parameters alone count."""
        return Need.GRAD_NORMS if self.parameters == "all" else Need.LOGITS | Need.FEATURES

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the gradient norm at one checkpoint, [B]."""
        if self.parameters == "classifier":
            assert seen.features is not None
            return classifier_grand(seen.logits, seen.labels, seen.features)
        assert seen.grad_norms is not None
        return seen.grad_norms
