"""TracIn to a target: how much the steps on an example would have lowered the loss on rows that matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

from torch import Tensor

from raysample.influence.scores.base import RateScore, require_target
from raysample.influence.scores.reference import Reference
from raysample.influence.visits.artifacts import Artifacts, Need


def tracin_target(sums: Tensor, over: Literal["mean", "max"] = "mean") -> Tensor:
    """Return the mean or maximum over M directions of the sums Σ_k η_k ⟨∇ℓ_k, d_km⟩ [B, M], in (−∞, ∞), [B]."""
    return sums.mean(1) if over == "mean" else sums.amax(1)


@final
@dataclass(frozen=True)
class TracinTarget(RateScore):
    """Influence on a target corpus: Σ_k η_k ⟨∇_w ℓ(w_k, x, y), ∇_w L_target(w_k)⟩ over all trainable parameters.

    η_k is the learning rate at checkpoint k, ℓ the loss of the example and L_target the mean loss of the target corpus
    `target` (a name in `score.targets`), both in nats and in eval mode. To first order it is how much the example's
    own gradient steps lowered the target's loss.

    Range (−∞, ∞), in nats. High is helpful to the target, negative is harmful. That is neither hard nor easy; it
    counts as "harder", so that the policy `hard` keeps the most helpful rows. `by: class` takes the mean loss of each
    class of the target apart, and `over` says what counts: the `mean` over these classes, or the class that the example
    helps most (`max`, as LESS does over its sub-tasks). With `by: all` there is one direction, and both are the same.

    Designed for: checkpoints all along one run.

    Sources: Pruthi et al., NeurIPS 2020, arXiv 2002.08484, TracInCP; Xia et al., ICML 2024, arXiv 2402.04333 (LESS).

    What differs: no projection and no low-rank adapters are needed, since the direction is known before the examples
    are visited. Gradients are neither normalised to unit length nor preconditioned by Adam's moments, as in LESS.
    """

    name: ClassVar[str] = "tracin_target"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"
    example: ClassVar[Mapping[str, Any]] = {"target": "held_out"}

    target: str | None = None
    by: Literal["all", "class"] = "all"
    over: Literal["mean", "max"] = "mean"

    @property
    def needs(self) -> Need:
        """Dot products of the gradients with the target's."""
        return Need.GRAD_DOTS

    @property
    def references(self) -> tuple[Reference, ...]:
        """The target's mean gradient at each checkpoint."""
        self.check()
        more = {} if self.by == "all" else {"by": self.by}
        return (Reference.from_options("target_gradient", target=self.target, **more),)

    def check(self) -> None:
        """Raise ScoreError without a target."""
        require_target(self.name, self.target)

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the dot products at one checkpoint, [B, M]."""
        return seen.grad_dots[self.references[0].key]

    def value(self, state: Tensor) -> Tensor:
        """Return the mean or maximum over the directions, [B]."""
        return tracin_target(state, self.over)
