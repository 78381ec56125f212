"""The base of every score: a pure fold of the artifacts of one mini-batch along the checkpoints of a run."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from raysample.core.arrays import Float32Array
from raysample.core.errors import CheckpointError, ScoreError
from raysample.core.numerics.moments import RunningMoments
from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores.reference import Reference
from raysample.influence.scores.window import ALL, CheckpointWindow
from raysample.influence.visits.artifacts import Artifacts, Need

S = TypeVar("S")


@dataclass(frozen=True)
class Score(ABC, Generic[S]):
    """One number per example, folded over the checkpoints of one run.

    Examples never interact, and a state lives as long as its mini-batch is in progress. A score is immutable and
    picklable; its options are its fields.

    Attributes:
        name: its name in configurations.
        higher_is: whether a high value means that an example is harder, or easier, for the model.
        min_checkpoints: smallest number of checkpoints that it accepts.
        designed_runs: number of runs with different seeds over which its source averages it; 1 for a single run.
        last_only: whether its references are prepared for the last checkpoint only.
        uses_label: whether a row's value depends on its own label: if labels are a model's hypotheses, the value is
            then relative to that model.
        by_row: whether a row's value may depend on its row id, not only on its tokens and label.
        discrete: whether its values are steps (a count, or a share of a few): rounding then moves a row on an edge by a
            whole step, and other rows not at all.
        label_error_rank: how well its hard end points at wrong labels: 0 for not at all; the score of a table with the
            highest rank finds the suspected rows of a report.
        version: increased when its numbers change; part of the identity of every table with it.
        example: options of a small example, for documentation and tests; needed if an option has no default.
        min_values: smallest sensible value of each numeric option.
        checkpoints: the window of checkpoints that it uses.

    >>> from raysample.influence.scores import SCORES
    >>> issubclass(SCORES["el2n"], Score), SCORES["el2n"]().higher_is
    (True, 'harder')
    """

    name: ClassVar[str]
    higher_is: ClassVar[Literal["harder", "easier"]]
    min_checkpoints: ClassVar[int] = 1
    designed_runs: ClassVar[int] = 1
    last_only: ClassVar[bool] = False
    uses_label: ClassVar[bool] = True
    by_row: ClassVar[bool] = False
    discrete: ClassVar[bool] = False
    label_error_rank: ClassVar[int] = 0
    version: ClassVar[str] = "1"
    example: ClassVar[Mapping[str, Any]] = {}
    min_values: ClassVar[Mapping[str, float]] = {}

    checkpoints: CheckpointWindow = ALL

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for option in fields(self):
            value, kind = getattr(self, option.name), hints[option.name]
            if get_origin(kind) is Literal and value not in get_args(kind):
                raise self._wrong(option.name, f"choose {' or '.join(map(repr, get_args(kind)))}")
            if option.name in self.min_values and not _is_number(value, kind, self.min_values[option.name]):
                kind_of_number = "a number" if float in _kinds(kind) else "a whole number"
                raise self._wrong(option.name, f"give {kind_of_number} of {self.min_values[option.name]:g} or more")

    def _wrong(self, option: str, advice: str) -> ScoreError:
        """Return the error for an option with a wrong value."""
        return ScoreError(f"score {self.name!r}: option {option!r} is {getattr(self, option)!r}", advice)

    def check(self) -> None:
        """Raise ScoreError if an option without default is missing."""

    @property
    def needs(self) -> Need:
        """What it needs from each visit."""
        return Need.LOGITS

    @property
    def objectives(self) -> frozenset[str]:
        """The objectives whose embedding gradients it needs."""
        return frozenset()

    @property
    def references(self) -> tuple[Reference, ...]:
        """The references to prepare before scoring; a visit passes them in `Artifacts.reference` and `grad_dots`."""
        return ()

    @property
    def by_loop(self) -> bool:
        """Whether its gradient norms must come from one backward per example, which is exact for any model."""
        return False

    @abstractmethod
    def init(self) -> S:
        """Return the state before the first checkpoint."""

    @abstractmethod
    def fold(self, state: S, seen: Artifacts, at: Checkpoint) -> S:
        """Return the state after one more checkpoint; checkpoints come in training order."""

    @abstractmethod
    def value(self, state: S) -> Tensor:
        """Return the score of each example, [B]."""

    def select(self, checkpoints: Sequence[Checkpoint]) -> tuple[int, ...]:
        """Return the positions of the checkpoints it uses; raises CheckpointError if these are too few."""
        found = self.checkpoints.select(checkpoints)
        if len(found) < self.min_checkpoints:
            epochs = ", ".join(f"{checkpoint.epoch:g}" for checkpoint in checkpoints)
            raise CheckpointError(
                f"score {self.name!r} needs {self.min_checkpoints} or more checkpoints in the window "
                f"{self.checkpoints}, and the run has {len(found)} there (its checkpoints are at the epochs {epochs})",
                f"widen the option `checkpoints` of {self.name!r}, or fine-tune with more checkpoints "
                "(fine_tune.checkpoints or fine_tune.checkpoints_per_epoch)",
            )
        if self.last_only and found != (len(checkpoints) - 1,):
            raise CheckpointError(
                f"score {self.name!r} is made for the last checkpoint alone, and its window is {self.checkpoints}",
                f"leave the option `checkpoints` of {self.name!r} out",
            )
        return found

    def options(self, checkpoints: Sequence[Checkpoint] | None = None) -> dict[str, Any]:
        """Return all options with their values, including defaults, as JSON-able data that `create_score` accepts.

        With the checkpoints of a run, also `steps`: the steps of the checkpoints that it uses there, or
        CheckpointError.
        """
        values = {option.name: getattr(self, option.name) for option in fields(self)}
        values["checkpoints"] = self.checkpoints.to_config()
        steps = {} if checkpoints is None else {"steps": [checkpoints[i].step for i in self.select(checkpoints)]}
        return {**values, **steps}


@dataclass(frozen=True)
class MeanScore(Score[RunningMoments]):
    """Base of scores that are the mean of a value per checkpoint."""

    @abstractmethod
    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the value of each example at one checkpoint, [B]."""

    def init(self) -> RunningMoments:
        """Return empty moments."""
        return RunningMoments()

    def fold(self, state: RunningMoments, seen: Artifacts, at: Checkpoint) -> RunningMoments:  # noqa: ARG002 - every checkpoint weighs the same
        """Add one checkpoint's value."""
        return state.add(self.at_checkpoint(seen))

    def value(self, state: RunningMoments) -> Tensor:
        """Return the mean, [B]."""
        return state.mean


@dataclass(frozen=True)
class RateScore(Score[Tensor]):
    """Base of scores that are the sum over the checkpoints of the learning rate times a value."""

    @abstractmethod
    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the value of each example at one checkpoint, [B] or [B, M]."""

    def init(self) -> Tensor:
        """Return an empty sum."""
        return torch.zeros(())

    def fold(self, state: Tensor, seen: Artifacts, at: Checkpoint) -> Tensor:
        """Add one checkpoint's value times its learning rate."""
        return state + at.learning_rate * self.at_checkpoint(seen)

    def value(self, state: Tensor) -> Tensor:
        """Return the sum, [B]."""
        return state

    def select(self, checkpoints: Sequence[Checkpoint]) -> tuple[int, ...]:
        """Return the positions of the checkpoints it uses; raises CheckpointError also without learning rates."""
        found = super().select(checkpoints)
        rates = [checkpoints[i].learning_rate for i in found]
        if not all(0 <= rate < math.inf for rate in rates) or not any(rates):
            listed = ", ".join("unknown" if math.isnan(rate) else f"{rate:g}" for rate in rates)
            raise CheckpointError(
                f"score {self.name!r} weighs checkpoints by their learning rates, and these are {listed}",
                f"widen the option `checkpoints` of {self.name!r}, or tell the learning rates of an adopted run "
                "(--learning-rates, adopt.learning_rates)",
            )
        return found


def require_target(name: str, target: str | None) -> None:
    """Raise ScoreError for a score without the target corpus that it needs."""
    if not isinstance(target, str) or not target:
        raise ScoreError(
            f"score {name!r} needs the option 'target': the corpus that the rows shall help with",
            f"describe one in score.targets and name it: {{name: {name}, target: NAME}}",
        )


def from_logits(score: Score[Any]) -> bool:
    """Return whether a score needs only logits and labels (and at most the class shares of the corpus).

    Such a score can also be folded over captured logits (`score.source: capture`).
    """
    return score.needs == Need.LOGITS and all(reference.kind == "priors" for reference in score.references)


def _kinds(hint: Any) -> tuple[Any, ...]:
    """Return the types in a type hint."""
    return get_args(hint) or (hint,)


def _is_number(value: Any, hint: Any, minimum: float) -> bool:
    """Return whether a value is a finite number of the hinted type and at least `minimum`; None only if hinted."""
    kinds = _kinds(hint)
    if value is None:
        return type(None) in kinds
    allowed = (int, float) if float in kinds else (int,)
    return type(value) in allowed and minimum <= value < math.inf


ScoresByColumn = Mapping[str, Score[Any]]
ScoreColumns = dict[str, Float32Array]
"""Values by column, [N] each."""
