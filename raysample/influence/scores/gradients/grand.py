"""GraNd: the length of the step that an example alone would make the model take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.influence.scores.base import MeanScore
from raysample.influence.scores.window import EARLY, CheckpointWindow
from raysample.influence.visits.artifacts import Artifacts, Need


def grand(norms: Tensor) -> Tensor:
    """Return ‖∇_w ℓ‖₂ at one checkpoint, in [0, ∞), [B]: the norms as the visit finds them, without any gradient."""
    return norms


@final
@dataclass(frozen=True)
class Grand(MeanScore):
    """Gradient norm: mean over the checkpoints of ‖∇_w ℓ(w, x, y)‖₂, ℓ the cross-entropy in nats, in eval mode.

    Range [0, ∞); high is harder. All parameters with `requires_grad` count; `grand_last` is that of the last layer.
    `method: rules` takes the norm from layer inputs and output gradients; `loop` by one backward per example, for
    models whose layers have no exact rule. The numbers are the same up to rounding.

    Designed for: a few epochs into the training, the mean of ten runs.

    Source: Paul, Ganguli and Dziugaite, NeurIPS 2021, arXiv 2107.07075, section 2.

    What differs: they propose it at initialisation, where it did not reproduce (Kirsch 2023, arXiv 2303.14753); here
    the checkpoints in epochs 1 to 3 are averaged, since top sets taken earlier are imbalanced in fine-tuning (Fayyaz et
    al. 2022, arXiv 2211.05610).
    """

    name: ClassVar[str] = "grand"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"
    designed_runs: ClassVar[int] = 10

    checkpoints: CheckpointWindow = EARLY
    method: Literal["rules", "loop"] = "rules"

    @property
    def needs(self) -> Need:
        """Gradient norms."""
        return Need.GRAD_NORMS

    @property
    def by_loop(self) -> bool:
        """As `method` says."""
        return self.method == "loop"

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the gradient norm at one checkpoint, [B]."""
        assert seen.grad_norms is not None
        return grand(seen.grad_norms)
