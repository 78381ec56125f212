"""TDDS: how unsteadily the whole prediction changes from checkpoint to checkpoint, above all at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from raysample.core.numerics.predictions import log_probabilities
from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores.base import Score
from raysample.influence.visits.artifacts import Artifacts

DECAY = 0.9


def change(before: Tensor, after: Tensor) -> Tensor:
    """Return Σ_c |p'_c (ln p'_c − ln p_c)|, [B], between log-probabilities ln p and ln p' [B, C] of two checkpoints."""
    return (after.exp() * (after - before)).abs().sum(1)


def unsteadiness(changes: Tensor) -> Tensor:
    """Return ‖d − mean(d)‖₂ over the J − 1 changes d [J − 1, B] of one window, [B]."""
    length: Tensor = torch.linalg.vector_norm(changes - changes.mean(0), dim=0)
    return length


def tdds(changes: Tensor, before: Tensor | None) -> Tensor:
    """Return (1 − β) S + β R with β = 0.9, in [0, ∞), [B]: the decayed sum over the windows, one more window added.

    S is the sum `before` it [B] (None: it is the first one), R the `unsteadiness` of its changes [J − 1, B]. After W
    windows the sum is Σ_w β (1 − β)^(W − 1 − w) R_w.
    """
    found = DECAY * unsteadiness(changes)
    return found if before is None else (1 - DECAY) * before + found


@dataclass(frozen=True)
class TddsState:
    """Log-probabilities [B, C] of the last checkpoint, the last changes [B], the decayed sum [B] over full windows."""

    log_p: Tensor | None = None
    changes: tuple[Tensor, ...] = ()
    total: Tensor | None = None

    def add(self, log_p: Tensor, window: int) -> TddsState:
        """Return the state after one more checkpoint."""
        if self.log_p is None:
            return TddsState(log_p)
        changes = (*self.changes, change(self.log_p, log_p))[-(window - 1) :]
        if len(changes) < window - 1:
            return TddsState(log_p, changes)
        return TddsState(log_p, changes, tdds(torch.stack(changes), self.total))

    def value(self) -> Tensor:
        """Return the sum, or where no window is full that of the one window which holds all checkpoints."""
        return tdds(torch.stack(self.changes), None) if self.total is None else self.total


@final
@dataclass(frozen=True)
class Tdds(Score[TddsState]):
    """Temporal dual-depth score: Σ_w 0.9 · 0.1^(W−1−w) R_w over the W = K − J + 1 windows of J checkpoints, in order.

    R_w = ‖d − mean(d)‖₂ over the J − 1 changes d_k = Σ_c |p_{k+1,c} (ln p_{k+1,c} − ln p_{k,c})| within window w.

    Range [0, ∞), in nats; 0 where the changes are all alike; high is harder. The last window has nine tenths of the
    weight.

    `window` is J; with fewer checkpoints one window holds them all.

    Designed for: the epochs of the first part of one run; (K, J) from (10, 5) for strong pruning to (90, 10) for mild.

    Source: Zhang et al., CVPR 2024, arXiv 2311.13613, and its code (`zhangxin-xd/Dataset-Pruning-TDDS`), which the
    formula follows.

    What differs: the logarithms are exact, without an added 1e-8. J is 5, for a run of ten checkpoints.
    """

    name: ClassVar[str] = "tdds"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"
    uses_label: ClassVar[bool] = False
    min_checkpoints: ClassVar[int] = 3
    min_values: ClassVar[dict[str, float]] = {"window": 3}

    window: int = 5

    def init(self) -> TddsState:
        """Return the state before any checkpoint."""
        return TddsState()

    def fold(self, state: TddsState, seen: Artifacts, at: Checkpoint) -> TddsState:  # noqa: ARG002 - only their order matters
        """Add one checkpoint's probabilities."""
        return state.add(log_probabilities(seen.logits), self.window)

    def value(self, state: TddsState) -> Tensor:
        """Return the weighed sum, [B]."""
        return state.value()
