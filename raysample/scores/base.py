"""What every score is: a pure fold of one mini-batch's artifacts along the checkpoints of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

from torch import Tensor

from raysample.artifacts import Artifacts, Need
from raysample.checkpoints import Checkpoint
from raysample.errors import CheckpointError, ScoreError
from raysample.numerics.moments import Moments
from raysample.scores.window import ALL, Window

S = TypeVar("S")


@dataclass(frozen=True)
class Score(ABC, Generic[S]):
    """One number per example, folded over the checkpoints of one run.

    Examples never mix and the state lives as long as one mini-batch is worked on. A score is immutable and picklable;
    its options are its fields.

    Attributes:
        name: how configurations call it.
        higher_is: what a high value says about an example: that it is harder, or easier, for the model.
        fewest: how many checkpoints it needs.
        checkpoints: which checkpoints of the run it looks at.
    """

    name: ClassVar[str]
    higher_is: ClassVar[Literal["harder", "easier"]]
    fewest: ClassVar[int] = 1

    checkpoints: Window = ALL

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for option in fields(self):
            allowed = get_args(hints[option.name]) if get_origin(hints[option.name]) is Literal else None
            value = getattr(self, option.name)
            if allowed is not None and value not in allowed:
                raise ScoreError(
                    f"score {self.name!r}: option {option.name!r} is {value!r}",
                    f"choose {' or '.join(map(repr, allowed))}",
                )

    @property
    def needs(self) -> Need:
        """What it needs from each visit."""
        return Need.LOGITS

    @property
    def objectives(self) -> frozenset[str]:
        """Which objectives it wants the embedding gradients of."""
        return frozenset()

    @abstractmethod
    def init(self) -> S:
        """Return the state before the first checkpoint."""

    @abstractmethod
    def fold(self, state: S, seen: Artifacts, at: Checkpoint) -> S:
        """Return the state after one more checkpoint; they come in training order."""

    @abstractmethod
    def value(self, state: S) -> Tensor:
        """Return the score of each example, [B]."""

    def select(self, checkpoints: Sequence[Checkpoint]) -> tuple[int, ...]:
        """Return the positions of the checkpoints it uses; raises CheckpointError where they are too few for it."""
        found = self.checkpoints.select(checkpoints)
        if len(found) < self.fewest:
            epochs = ", ".join(f"{checkpoint.epoch:g}" for checkpoint in checkpoints)
            raise CheckpointError(
                f"score {self.name!r} needs {self.fewest} or more checkpoints in the window {self.checkpoints}, "
                f"and the run has {len(found)} there (its checkpoints are at the epochs {epochs})",
                f"widen the option `checkpoints` of {self.name!r}, or fine-tune with more checkpoints "
                "(fine_tune.checkpoints or fine_tune.checkpoints_per_epoch)",
            )
        return found

    def options(self, checkpoints: Sequence[Checkpoint] | None = None) -> dict[str, Any]:
        """Return every option with its value, defaults included, as JSON-able data that `create` accepts.

        With the checkpoints of a run, also `steps`: those of the checkpoints that it uses there, or CheckpointError.
        """
        values = {option.name: getattr(self, option.name) for option in fields(self)}
        values["checkpoints"] = self.checkpoints.plain()
        steps = {} if checkpoints is None else {"steps": [checkpoints[i].step for i in self.select(checkpoints)]}
        return {**values, **steps}


@dataclass(frozen=True)
class MeanScore(Score[Moments]):
    """Base of the scores that are the mean, over the checkpoints, of a value that each checkpoint gives."""

    @abstractmethod
    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return what one checkpoint says about each example, [B]."""

    def init(self) -> Moments:
        """Return the moments of nothing."""
        return Moments()

    def fold(self, state: Moments, seen: Artifacts, at: Checkpoint) -> Moments:  # noqa: ARG002 - every checkpoint weighs the same
        """Add one checkpoint's value."""
        return state.add(self.at_checkpoint(seen))

    def value(self, state: Moments) -> Tensor:
        """Return the mean, [B]."""
        return state.mean
