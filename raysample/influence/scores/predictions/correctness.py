"""Correctness: how many checkpoints get an example right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from raysample.core.numerics.predictions import correct
from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores.base import Score
from raysample.influence.visits.artifacts import Artifacts


def correctness(logits: Tensor, labels: Tensor) -> Tensor:
    """Return 1.0 where one checkpoint is right and 0.0 where it is wrong, [B], for logits [B, C] and labels [B]."""
    return correct(logits, labels)


@final
@dataclass(frozen=True)
class Correctness(Score[Tensor]):
    """Cartography's correctness: the number of checkpoints whose largest logit is the gold one (the first of equals).

    Range: whole numbers from 0 to K for K checkpoints; high is easier.

    Designed for: all epochs of one run, one look at each.

    Source: Swayamdipta et al., EMNLP 2020, arXiv 2009.10795, section 2 (a share there, a count in its code).

    What differs: they log the training passes of each epoch; so does online capture (`score.source: capture`), while
    saved checkpoints are looked at in eval mode.
    """

    name: ClassVar[str] = "correctness"
    higher_is: ClassVar[Literal["harder", "easier"]] = "easier"
    discrete: ClassVar[bool] = True

    def init(self) -> Tensor:
        """Return the count of nothing."""
        return torch.zeros(())

    def fold(self, state: Tensor, seen: Artifacts, at: Checkpoint) -> Tensor:  # noqa: ARG002 - every checkpoint weighs the same
        """Add one checkpoint's predictions."""
        return state + correctness(seen.logits, seen.labels)

    def value(self, state: Tensor) -> Tensor:
        """Return the count, [B]."""
        return state
