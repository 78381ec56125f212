"""VoG: how much the gradient at an example's embeddings varies along the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from raysample.core.numerics.moments import RunningMoments
from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores.base import Score
from raysample.influence.visits.artifacts import Artifacts, Need

Variance = Literal["population", "std"]


def mean_over_tokens(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of values [B, T, D] over the real tokens (mask [B, T]) and all dims, [B]; NaN without a token."""
    kept = values.masked_fill(~mask[..., None], 0.0)
    return kept.sum((1, 2)) / (mask.sum(1) * values.shape[2])


def vog(gradients: RunningMoments, mask: Tensor, variance: Variance = "population") -> Tensor:
    """Return mean_{t,d} Var_k G_ktd, [B], from the moments over K checkpoints of gradients [B, T, D].

    The mask [B, T] marks the real tokens. With `std` it is the mean of standard deviations √(Var_k G_ktd).
    """
    return mean_over_tokens(gradients.variance() if variance == "population" else gradients.deviation(), mask)


@dataclass(frozen=True)
class VogState:
    """Running moments of the gradients [B, T, D] and the mask [B, T] of real tokens."""

    gradients: RunningMoments
    mask: Tensor


@final
@dataclass(frozen=True)
class Vog(Score[VogState]):
    """Variance of gradients.

    v = mean over real tokens t and dims d of the population variance, over the K checkpoints, of
    G_k = ∂A_y / ∂E, where A_y is the pre-softmax output at the gold label and E the output of the embedding layer.

    Range [0, ∞), in squared logits per squared embedding unit; 0 where all checkpoints agree; high is harder.

    Designed for: ten checkpoints all along one run (which ones changes the ranking most, of all that is left open).

    Sources: Agarwal, D'souza and Hooker, CVPR 2022, arXiv 2008.11600; for text Anand, Tan and Minakova, EMNLP 2023,
    arXiv 2311.16298, Appendix B.1, eq. 3.

    What differs: the factor 1/√K of their equation (a constant; the ranking is the same) is 1/K here. Padding does not
    count, so that the score does not depend on the mini-batch. Their normalisation within a class or over the data set
    is the sampler's. `variance: std` takes the mean of standard deviations (another ranking), as the published code of
    the first source does. `objective` may also be the loss (nats) or the gold probability.
    """

    name: ClassVar[str] = "vog"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"
    min_checkpoints: ClassVar[int] = 2

    objective: Literal["logit", "loss", "probability"] = "logit"
    variance: Variance = "population"
    site: Literal["embedding_output"] = "embedding_output"
    tokens: Literal["real"] = "real"

    @property
    def needs(self) -> Need:
        """The gradient at the embedding output."""
        return Need.EMBEDDING_GRADS

    @property
    def objectives(self) -> frozenset[str]:
        """The one objective of the option."""
        return frozenset({self.objective})

    def init(self) -> VogState:
        """Return the moments of nothing."""
        return VogState(RunningMoments(), torch.zeros((), dtype=torch.bool))

    def fold(self, state: VogState, seen: Artifacts, at: Checkpoint) -> VogState:  # noqa: ARG002 - every checkpoint weighs the same
        """Add one checkpoint's gradients."""
        return VogState(state.gradients.add(seen.embedding_grads[self.objective]), seen.mask)

    def value(self, state: VogState) -> Tensor:
        """Return the mean variance (or standard deviation), [B]."""
        return vog(state.gradients, state.mask, self.variance)
