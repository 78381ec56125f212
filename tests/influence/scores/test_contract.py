"""The public contract holds for every score of the registry, and finds what a score breaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor

from raysample.core.numerics.moments import RunningMoments
from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores import SCORES, Artifacts, MeanScore, Score
from raysample.testing import check_score


@pytest.mark.parametrize("name", SCORES)
def test_every_score_keeps_the_contract(name: str) -> None:
    check_score(SCORES[name])


@dataclass(frozen=True)
class Whole(MeanScore):
    """A score that keeps the contract.

    Range [0, 1]; high is harder. Designed for: tests. Source: none.
    """

    name: ClassVar[str] = "whole"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the missing probability of the label."""
        return 1 - seen.logits.softmax(1).gather(1, seen.labels[:, None]).squeeze(1)


@dataclass(frozen=True)
class Undocumented(Whole):
    """High is harder."""


@dataclass(frozen=True)
class BatchDependent(Whole):
    """Range, source, designed for, high is."""

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return a value that the other rows move."""
        found = super().at_checkpoint(seen)
        return found - found.nanmean()


@dataclass(frozen=True)
class PaddingDependent(Whole):
    """Range, source, designed for, high is."""

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return a value that padding moves."""
        return super().at_checkpoint(seen) + seen.mask.shape[1]


@dataclass(frozen=True)
class Undeclared(Whole):
    """Range, source, designed for, high is."""

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return what `needs` does not declare."""
        assert seen.grad_norms is not None
        return seen.grad_norms


@dataclass(frozen=True)
class Unlabelled(Whole):
    """Range, source, designed for, high is."""

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return a value without the label."""
        return seen.logits.logsumexp(1)


@dataclass(frozen=True)
class Counting(Whole):
    """Range, source, designed for, high is."""

    def value(self, state: RunningMoments) -> Tensor:
        """Return a whole number."""
        return (5 * state.mean).round() + 0 * state.mean


@dataclass(frozen=True)
class Shared(Score[list[Tensor]]):
    """Range, source, designed for, high is."""

    name: ClassVar[str] = "shared"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"

    def init(self) -> list[Tensor]:
        """Return the visits so far."""
        return []

    def fold(self, state: list[Tensor], seen: Artifacts, at: Checkpoint) -> list[Tensor]:
        """Write to the state that was given."""
        state.append(at.learning_rate * seen.logits.gather(1, seen.labels[:, None]).squeeze(1))
        return state

    def value(self, state: list[Tensor]) -> Tensor:
        """Return the sum."""
        return torch.stack(state).sum(0)


@dataclass(frozen=True)
class Hiding(Whole):
    """Range, source, designed for, high is."""

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return a number for a row that has none."""
        return super().at_checkpoint(seen).nan_to_num(0.5)


def test_a_score_of_ones_own_keeps_the_contract() -> None:
    check_score(Whole)
    check_score(Whole, checkpoints=Whole().checkpoints)


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (Undocumented, "the docstring of Undocumented says: range, source, designed for"),
        (BatchDependent, "of a row alone is that of the row in a mini-batch"),
        (PaddingDependent, "does not see padding"),
        (Undeclared, "uses only what `needs`"),
        (Unlabelled, "uses_label is False"),
        (Counting, "declares `discrete = True`"),
        (Shared, "leaves the old one as it was"),
        (Hiding, "has no number for a row"),
        (int, "is a subclass of raysample.Score"),
    ],
)
def test_a_broken_promise_is_named(kind: Any, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_score(kind)


def test_a_class_inside_a_function_is_nothing_that_a_worker_finds() -> None:
    @dataclass(frozen=True)
    class Local(Whole):
        """Range, source, designed for, high is."""

    with pytest.raises((AssertionError, AttributeError), match=r"worker finds Local|no attribute '<locals>'"):
        check_score(Local)
