"""Forgetting: how often a checkpoint gets an example wrong that the one before got right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from raysample.core.numerics.predictions import correct
from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores.base import Score
from raysample.influence.visits.artifacts import Artifacts


def forgetting(history: Tensor) -> Tensor:
    """Return the number of falls from 1 to 0 along K checkpoints, and K where there is no 1, [B].

    `history` [K, B] holds 1.0 where a checkpoint is right and 0.0 where it is wrong; NaN spreads to the result.
    """
    falls = (history[:-1] - history[1:]).clamp(min=0).sum(0)
    return falls.masked_fill(history.amax(0) == 0, float(len(history)))


@dataclass(frozen=True)
class ForgettingState:
    """Checkpoints seen, correctness at the last of them, whether there was any, and forgetting events; tensors [B]."""

    count: int = 0
    last: Tensor = torch.zeros(())  # noqa: RUF009 - never written to
    ever: Tensor = torch.zeros(())  # noqa: RUF009
    events: Tensor = torch.zeros(())  # noqa: RUF009

    def add(self, hits: Tensor) -> ForgettingState:
        """Return the state after one more checkpoint."""
        events = self.events + (self.last - hits).clamp(min=0)
        return ForgettingState(self.count + 1, hits, torch.maximum(self.ever, hits), events)

    def value(self) -> Tensor:
        """Return the events, or the number of checkpoints where nothing was ever right."""
        return self.events.masked_fill(self.ever == 0, float(self.count))


@final
@dataclass(frozen=True)
class Forgetting(Score[ForgettingState]):
    """Forgetting events: #{k : checkpoint k is right about the example and checkpoint k + 1 is wrong}.

    Range: whole numbers from 0 to ⌊K/2⌋ for K checkpoints, and K, above all others, for an example that no checkpoint
    gets right; high is harder. `never_learned: events` leaves such an example at its 0 events, among the easiest.

    Designed for: the whole training, looked at often (every 50 steps of two epochs in arXiv 2311.16298, Appendix B.1);
    the mean of three runs there, the sum of five in the source.

    Source: Toneva et al., ICLR 2019, arXiv 1812.05159.

    What differs: they look at each presentation of the example during training; so does online capture
    (`score.source: capture`), while saved checkpoints are looked at in eval mode. Never-learned examples count as
    forgotten infinitely often there; here they get a finite value with the same rank.
    """

    name: ClassVar[str] = "forgetting"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"
    fewest: ClassVar[int] = 2
    designed_runs: ClassVar[int] = 3

    never_learned: Literal["count", "events"] = "count"

    def init(self) -> ForgettingState:
        """Return the state before any checkpoint."""
        return ForgettingState()

    def fold(self, state: ForgettingState, seen: Artifacts, at: Checkpoint) -> ForgettingState:  # noqa: ARG002 - only their order matters
        """Compare one checkpoint's predictions with those of the one before."""
        return state.add(correct(seen.logits, seen.labels))

    def value(self, state: ForgettingState) -> Tensor:
        """Return the number of events, [B]."""
        return state.value() if self.never_learned == "count" else state.events
