"""The scoring loop: one block of examples x checkpoints x scores -> one float column per score, in row order.

Every checkpoint visits the same mini-batches once, whatever the number of scores. Examples never interact, so a score
folds along the checkpoint axis only: its state covers one mini-batch, lives until the last checkpoint has visited that
mini-batch, and never leaves this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raysample.core.errors import ScoreError
from raysample.core.numerics.batches import token_batches
from raysample.core.numerics.halving import Halving
from raysample.core.numerics.to_device import moved
from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores import Score
from raysample.influence.scores.reference import Reference
from raysample.influence.visits.artifacts import Artifacts, Need, join_artifacts
from raysample.influence.visits.visit import collect

if TYPE_CHECKING:
    from raysample.models import Encoded

T = TypeVar("T")
ModelSource = Sequence[nn.Module] | Callable[[int], nn.Module]
Pad = Callable[[NDArray[np.int64]], dict[str, Tensor]]


class Prepared(Protocol):
    """The prepared references of one checkpoint.

    `tensors`: reference key -> name -> Tensor; `directions`: reference key -> parameter name -> [M, *shape].
    """

    @property
    def tensors(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Tensors for `Artifacts.reference`."""
        ...

    @property
    def directions(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Directions whose dot products with each gradient become `Artifacts.grad_dots`."""
        ...


References = Callable[[int, frozenset[Reference]], Prepared]


def score_block(
    models: ModelSource,
    checkpoints: Sequence[Checkpoint],
    encoded: Encoded,
    labels: NDArray[np.integer[Any]],
    scores: Mapping[str, Score[Any]],
    *,
    pad: Pad,
    batch_tokens: int,
    device: str = "cpu",
    autocast: torch.dtype | None = None,
    references: References | None = None,
    keys: NDArray[np.int64] | None = None,
    by_loop: bool = False,
) -> dict[str, NDArray[np.float32]]:
    """Score a block of examples at the checkpoints of one run.

    With a sequence of models (all resident on the device) each mini-batch visits all models in turn, and only the
    states of that mini-batch are alive. With a function that loads a model, each checkpoint is loaded once and the
    states of the whole block are alive. The numbers are the same.

    Args:
        models: one per checkpoint in the same order, or a function from a checkpoint's position to its model.
        checkpoints: the checkpoints of the run, in training order.
        encoded: the tokens of the examples; `lengths` decides the mini-batches.
        labels: [rows] gold labels.
        scores: column -> score.
        pad: returns one padded mini-batch for the given row positions.
        batch_tokens: token budget of a mini-batch (rows x longest row, one row at least); halved if out of memory.
        device, autocast: the models' device; a lower precision of forward and backward, None for the models' own.
        references: from a checkpoint's position and the references of its scores to the prepared ones.
        keys: [rows] hashes of the row ids, for scores that compare rows with other rows.
        by_loop: compute gradients with one backward per example, whatever the scores declare.

    Returns:
        column -> float32 [rows], in row order. A value that is not finite is NaN: the caller decides about that row.

    Raises:
        CheckpointError: a score's window holds too few checkpoints.
        UnsupportedModelError: the models have no exact gradient rule for a score.
        ScoreError: a label is not among the models' classes, or the arguments do not fit each other.
    """
    _check_sizes(models, checkpoints, encoded, labels)
    folding = _Folding(scores, checkpoints, len(labels))
    cut = list(token_batches(encoded.lengths, batch_tokens))
    # One mini-batch and one model are alive at a time: consecutive visits share the one or the other (see `_visits`).
    batches = _Newest(lambda batch: _Batch.from_rows(cut[batch], pad, labels, keys, device))
    model_at = _Newest(models.__getitem__ if isinstance(models, Sequence) else models)
    for at, batch in _visits(isinstance(models, Sequence), folding.order, len(cut)):
        mini, model, parts = batches(batch), model_at(at), list[Artifacts]()
        required = VisitRequirements.from_scores(folding.scores_at(at).values(), at, references, by_loop)
        # Out of memory: the halves of the mini-batch, padded like the whole, are visited instead; examples do not
        # interact, so the numbers stay.
        for piece in (pieces := Halving(len(mini.labels))):
            with pieces:
                inputs = {name: value[piece] for name, value in mini.inputs.items()}
                parts.append(collect(model, inputs, mini.labels[piece], **required.options, autocast=autocast))
        folding.add(at, batch, mini.rows, replace(join_artifacts(parts), reference=required.tensors, keys=mini.keys))
        del model, required, parts  # frees the model and directions of this checkpoint before the next ones are loaded
    return folding.columns


def _check_sizes(
    models: ModelSource, checkpoints: Sequence[Checkpoint], encoded: Encoded, labels: NDArray[np.integer[Any]]
) -> None:
    """Raise ScoreError unless there is one label per example and one model per checkpoint."""
    if not len(labels) == len(encoded.lengths) or (isinstance(models, Sequence) and len(models) != len(checkpoints)):
        raise ScoreError(
            f"{len(labels)} labels for {len(encoded.lengths)} examples at {len(checkpoints)} checkpoints do not fit",
            "give one label per example and one model per checkpoint, in the same order",
        )


class _Folding:
    """The states of all scores for the mini-batches in progress, and the finished columns.

    `order`: the positions of the checkpoints in any score's window, rising. The state of a mini-batch exists from the
    first to the last of them; no score folds the same (mini-batch, checkpoint) twice.
    """

    def __init__(self, scores: Mapping[str, Score[Any]], checkpoints: Sequence[Checkpoint], rows: int) -> None:
        self.scores, self.checkpoints = scores, checkpoints
        self.used = {column: frozenset(score.select(checkpoints)) for column, score in scores.items()}
        self.order = sorted(frozenset[int]().union(*self.used.values()))
        self.columns = {column: np.full(rows, np.nan, np.float32) for column in scores}
        self.states: dict[int, dict[str, Any]] = {}

    def scores_at(self, at: int) -> dict[str, Score[Any]]:
        """Return the scores whose window contains the checkpoint at a position."""
        return {column: score for column, score in self.scores.items() if at in self.used[column]}

    def add(self, at: int, batch: int, rows: NDArray[np.int64], artifacts: Artifacts) -> None:
        """Fold a visit of mini-batch number `batch`, whose rows [B] are `rows` of the block, into its states."""
        state = self.states.setdefault(batch, {column: score.init() for column, score in self.scores.items()})
        for column, score in self.scores_at(at).items():
            state[column] = score.fold(state[column], artifacts, self.checkpoints[at])
        # The last checkpoint of the union of all windows ends every score of this mini-batch.
        if at == self.order[-1]:
            for column, value in self.states.pop(batch).items():
                self.columns[column][rows] = _finite(self.scores[column].value(value))


def _visits(resident: bool, order: Sequence[int], batches: int) -> Iterator[tuple[int, int]]:
    """Yield (checkpoint, mini-batch) in visiting order.

    Mini-batch-major for resident models, so that one mini-batch's states are alive at a time; checkpoint-major
    otherwise, so that each model is loaded once per block. Both orders visit a mini-batch's checkpoints in training
    order.
    """
    if resident:
        yield from ((at, batch) for batch in range(batches) for at in order)
    else:
        yield from ((at, batch) for at in order for batch in range(batches))


class _Newest(Generic[T]):
    """A cache of size one for `make(number)`; the old value is released before the new one is made."""

    def __init__(self, make: Callable[[int], T]) -> None:
        self.make = make
        self.held: dict[int, T] = {}

    def __call__(self, number: int) -> T:
        if number not in self.held:
            self.held.clear()
            self.held[number] = self.make(number)
        return self.held[number]


@dataclass(frozen=True)
class _Batch:
    """One mini-batch on the device: `rows` [B] are row positions in the block, `labels` [B] and `keys` [B] int64."""

    rows: NDArray[np.int64]
    inputs: dict[str, Tensor]
    labels: Tensor
    keys: Tensor | None

    @staticmethod
    def from_rows(
        rows: NDArray[np.int64],
        pad: Pad,
        labels: NDArray[np.integer[Any]],
        keys: NDArray[np.int64] | None,
        device: str,
    ) -> _Batch:
        """Pad the rows at positions `rows` and copy inputs, labels and keys to the device in one go."""
        on_device = {"labels": torch.from_numpy(labels[rows]).long()}
        if keys is not None:
            on_device["keys"] = torch.from_numpy(keys[rows])
        on_device = moved(on_device, device)
        return _Batch(rows, moved(pad(rows), device), on_device["labels"], on_device.get("keys"))


@dataclass(frozen=True)
class VisitRequirements:
    """The union of the requirements of all scores whose window contains one checkpoint."""

    needs: Need
    objectives: frozenset[str]
    tensors: Mapping[str, Mapping[str, Tensor]]
    directions: Mapping[str, Mapping[str, Tensor]]
    by_loop: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `collect`."""
        by = "loop" if self.by_loop else "rules"
        return {"needs": self.needs, "objectives": self.objectives, "directions": self.directions, "by": by}

    @staticmethod
    def from_scores(
        scores: Iterable[Score[Any]], at: int, references: References | None, by_loop: bool = False
    ) -> VisitRequirements:
        """Unite the scores' requirements at checkpoint `at`; raises ScoreError if references are missing."""
        needs, objectives, wanted = Need.LOGITS, frozenset[str](), frozenset[Reference]()
        for score in scores:
            needs, objectives = needs | score.needs, objectives | score.objectives
            wanted |= frozenset(score.references)
            by_loop |= score.by_loop
        if not wanted:
            return VisitRequirements(needs, objectives, {}, {}, by_loop)
        if references is None:
            names = ", ".join(sorted(reference.key for reference in wanted))
            raise ScoreError(f"scores need references that were not given: {names}", "pass `references`")
        prepared = references(at, wanted)
        return VisitRequirements(needs, objectives, prepared.tensors, prepared.directions, by_loop)


def _finite(values: Tensor) -> NDArray[np.float32]:
    """Return the values as float32 [B] on the CPU; NaN replaces infinities, so that one test finds every bad row."""
    column = values.float().cpu().numpy()
    return np.where(np.isfinite(column), column, np.float32(np.nan))
