"""Influence function: how the loss on a target would change if an example weighed more in the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

from torch import Tensor

from raysample.influence.scores.base import MeanScore, require_target
from raysample.influence.scores.reference import Reference
from raysample.influence.scores.window import LAST, CheckpointWindow
from raysample.influence.visits.artifacts import Artifacts, Need


def influence(dots: Tensor) -> Tensor:
    """Return the mean over M directions of ⟨∇ℓ, (H + λI)⁻¹ g_m⟩, in (−∞, ∞), [B], for these dot products [B, M]."""
    return dots.mean(1)


@final
@dataclass(frozen=True)
class Influence(MeanScore):
    """Influence on a target corpus at the end of the training: ⟨∇_w ℓ(w, x, y), (H + λI)⁻¹ ∇_w L_target(w)⟩.

    H is the Hessian of the mean loss of `rows` rows of the scored corpus, drawn by `seed`, λ the `damping`, L_target
    the mean loss of the target corpus `target` (a name in `score.targets`). It is −I_up,loss of Koh and Liang, averaged
    over the target's rows: by how much the target's loss falls per unit of weight that the example gains.

    Range (−∞, ∞), in nats. High is helpful to the target, negative is harmful. That is neither hard nor easy; it
    counts as "harder", so that the policy `hard` keeps the most helpful rows.

    `solver: cg` (conjugate gradients, products with the whole Hessian) or `lissa` (a recursion over mini-batches), with
    at most `iterations` products with it (`cg`) or steps (`lissa`); None for the solver's own number.

    Designed for: the last checkpoint of one run.

    Source: Koh and Liang, ICML 2017, arXiv 1703.04730, eq. 2. The inverse is applied once, to the target's gradient
    (H is symmetric), so that an example costs one dot product, as in DEALRec (arXiv 2401.17197).

    What differs: DEALRec takes the mean gradient of the training data, which is zero at the end of a training; a target
    apart from the training data is needed here. A fine-tuned network is not at a minimum, and its Hessian has negative
    eigenvalues, so by default H is its positive semi-definite part, the Gauss-Newton matrix (`curvature`); with
    `hessian` the damping must exceed the most negative eigenvalue, or preparing the direction is an error.
    """

    name: ClassVar[str] = "influence"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"
    example: ClassVar[Mapping[str, Any]] = {"target": "held_out"}
    last_only: ClassVar[bool] = True
    min_values: ClassVar[dict[str, float]] = {"damping": 0, "iterations": 1, "rows": 1, "seed": 0}

    checkpoints: CheckpointWindow = LAST
    target: str | None = None
    curvature: Literal["gauss_newton", "hessian"] = "gauss_newton"
    solver: Literal["cg", "lissa"] = "cg"
    damping: float = 0.01
    iterations: int | None = None
    rows: int = 1_000
    seed: int = 0

    @property
    def needs(self) -> Need:
        """Dot products of the gradients with the solved direction."""
        return Need.GRAD_DOTS

    @property
    def references(self) -> tuple[Reference, ...]:
        """The inverse Hessian times the target's mean gradient."""
        self.check()
        names = ("target", "curvature", "solver", "damping", "rows", "seed")
        given: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.iterations is not None:
            given["iterations"] = self.iterations
        return (Reference.from_options("inverse_hessian", **given),)

    def check(self) -> None:
        """Raise ScoreError without a target."""
        require_target(self.name, self.target)

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the dot products at the checkpoint, averaged over the directions where there are several, [B]."""
        return influence(seen.grad_dots[self.references[0].key])
