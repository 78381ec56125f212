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


def forgotten(before: Tensor, after: Tensor) -> Tensor:
    """Return 1.0 where a checkpoint was right (1.0) and the next one is wrong (0.0), else 0.0, [B]; NaN spreads."""
    return (before - after).clamp(min=0)


def forgetting(events: Tensor, ever: Tensor, checkpoints: int) -> Tensor:
    """Return the forgetting events [B], and the number of checkpoints where none was right (`ever` [B] is 0), [B]."""
    return events.masked_fill(ever == 0, float(checkpoints))


@dataclass(frozen=True)
class ForgettingState:
    """Checkpoints seen, correctness at the last of them, whether there was any, and forgetting events; tensors [B]."""

    count: int = 0
    last: Tensor = torch.zeros(())  # noqa: RUF009 - never written to
    ever: Tensor = torch.zeros(())  # noqa: RUF009
    events: Tensor = torch.zeros(())  # noqa: RUF009

    def add(self, hits: Tensor) -> ForgettingState:
        """Return the state after one more checkpoint."""
        events = self.events + forgotten(self.last, hits)
        return ForgettingState(self.count + 1, hits, torch.maximum(self.ever, hits), events)


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
    discrete: ClassVar[bool] = True
    min_checkpoints: ClassVar[int] = 2
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
        if self.never_learned == "events":
            return state.events
        return forgetting(state.events, state.ever, state.count)
