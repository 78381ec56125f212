"""TracIn-self: how much the steps on an example would have lowered its own loss along the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.core.numerics.predictions import last_layer_norms
from raysample.influence.scores.base import RateScore
from raysample.influence.visits.artifacts import Artifacts, Need


def tracin_self(norms: Tensor) -> Tensor:
    """Return ‖∇ℓ‖² at one checkpoint, in [0, ∞), [B], for gradient norms [B]: what its learning rate multiplies."""
    return norms.square()


@final
@dataclass(frozen=True)
class TracinSelf(RateScore):
    """Self-influence: Σ_k η_k ‖∇_w ℓ(w_k, x, y)‖², η_k the learning rate at checkpoint k, ℓ in nats, in eval mode.

    Range [0, ∞); high is harder. With one checkpoint and η = 1 it is `grand` squared.

    `parameters: all` takes every parameter with `requires_grad` (`method` as in `grand`); `last` the last linear layer
    in closed form, (‖p − y‖₂² (1 + ‖h‖²)), at the cost of a forward.

    Designed for: checkpoints all along one run, ten of them, 500 steps apart in arXiv 2311.16298.

    Source: Pruthi et al., NeurIPS 2020, arXiv 2002.08484, TracInCP of an example with itself; for data sampling Anand,
    Tan and Minakova, EMNLP 2023, arXiv 2311.16298, Appendix B.1.

    What differs: the latter take the last layer of the encoder alone, which did better there than the classifier's.
    The gradient is that of the plain loss, although the training steps were those of AdamW.
    """

    name: ClassVar[str] = "tracin_self"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"

    parameters: Literal["all", "last"] = "all"
    method: Literal["rules", "loop"] = "rules"

    @property
    def needs(self) -> Need:
        """Gradient norms, or the classifier's input where its parameters alone count."""
        return Need.GRAD_NORMS if self.parameters == "all" else Need.LOGITS | Need.FEATURES

    @property
    def by_loop(self) -> bool:
        """As `method` says, where all parameters count."""
        return self.parameters == "all" and self.method == "loop"

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the squared gradient norm at one checkpoint, [B]."""
        if self.parameters == "last":
            assert seen.features is not None
            return tracin_self(last_layer_norms(seen.logits, seen.labels, seen.features))
        assert seen.grad_norms is not None
        return tracin_self(seen.grad_norms)
