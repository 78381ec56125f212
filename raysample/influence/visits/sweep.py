"""The loop of scoring: one block of examples x checkpoints x scores -> columns of floats, in row order.

Every checkpoint visits the same mini-batches, once, whatever the number of scores. A score's state lives as long as its
mini-batch is worked on, and never leaves this module.
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
from raysample.core.numerics.to_device import moved
from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores import Score
from raysample.influence.scores.reference import Reference
from raysample.influence.visits.artifacts import Artifacts, Need, collect, join_artifacts

if TYPE_CHECKING:
    from raysample.models import Encoded

T = TypeVar("T")
Models = Sequence[nn.Module] | Callable[[int], nn.Module]
Pad = Callable[[NDArray[np.int64]], dict[str, Tensor]]


class Prepared(Protocol):
    """What references hold for one checkpoint.

    `tensors`: reference key -> name -> Tensor; `directions`: reference key -> parameter name -> [M, *shape].
    """

    @property
    def tensors(self) -> Mapping[str, Mapping[str, Tensor]]:
        """What goes into `Artifacts.reference`."""
        ...

    @property
    def directions(self) -> Mapping[str, Mapping[str, Tensor]]:
        """What the gradients are multiplied with, for `Artifacts.grad_dots`."""
        ...


References = Callable[[int, frozenset[Reference]], Prepared]


def score_block(
    models: Models,
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

    With a sequence of models (all resident on the device) one mini-batch at a time goes through all of them, and only
    its state is alive. With a function that fetches a model, each checkpoint is fetched once and the states of the
    whole block are alive. The numbers are the same.

    Args:
        models: one per checkpoint in the same order, or a function from a checkpoint's position to its model.
        checkpoints: of the run, in training order.
        encoded: the examples' tokens; `lengths` decides the mini-batches.
        labels: [rows] gold labels.
        scores: column -> score.
        pad: makes one padded mini-batch of the given row positions.
        batch_tokens: budget of a mini-batch, rows x longest row; one row at least. Where the device has too little
            memory for it, the mini-batch is halved.
        device: where the models are.
        autocast: lower precision of forward and backward; None for that of the models.
        references: from a checkpoint's position and what its scores want to what was prepared for it.
        keys: [rows] hashes of the row ids, for scores that compare rows with others.
        by_loop: take gradients from one backward per example, whatever the scores say.

    Returns:
        column -> float32 [rows], in row order. A value that is not finite is NaN: the caller decides what becomes of
        the row.

    Raises:
        CheckpointError: a score finds too few checkpoints in its window.
        UnsupportedModelError: the models have no exact gradient rule for a score.
        ScoreError: a label is not among the models' classes, or the arguments do not fit each other.
    """
    if not len(labels) == len(encoded.lengths) or (isinstance(models, Sequence) and len(models) != len(checkpoints)):
        raise ScoreError(
            f"{len(labels)} labels for {len(encoded.lengths)} examples at {len(checkpoints)} checkpoints do not fit",
            "give one label per example and one model per checkpoint, in the same order",
        )
    used = {column: frozenset(score.select(checkpoints)) for column, score in scores.items()}
    columns = {column: np.full(len(labels), np.nan, np.float32) for column in scores}
    states: dict[int, dict[str, Any]] = {}
    cut = list(token_batches(encoded.lengths, batch_tokens))
    batches = _Newest(lambda batch: _Batch.from_rows(cut[batch], pad, labels, keys, device))
    fetched = _Newest(models.__getitem__ if isinstance(models, Sequence) else models)
    order = sorted(frozenset[int]().union(*used.values()))
    for at, batch in _visits(isinstance(models, Sequence), order, len(cut)):
        mini = batches(batch)
        state = states.setdefault(batch, {column: score.init() for column, score in scores.items()})
        here = {column: score for column, score in scores.items() if at in used[column]}
        wish = VisitRequirements.from_scores(here.values(), at, references, by_loop)
        seen = _visit(fetched(at), mini.inputs, mini.labels, wish, autocast)
        seen = replace(seen, reference=wish.tensors, keys=mini.keys)
        state.update({column: score.fold(state[column], seen, checkpoints[at]) for column, score in here.items()})
        if at == order[-1]:
            for column, value in states.pop(batch).items():
                columns[column][mini.rows] = _finite(scores[column].value(value))
        del wish, seen  # the directions of one checkpoint can go before those of the next come
    return columns


def _visits(resident: bool, order: Sequence[int], batches: int) -> Iterator[tuple[int, int]]:
    """Yield (checkpoint, mini-batch): mini-batch by mini-batch with resident models, else model by model."""
    if resident:
        yield from ((at, batch) for batch in range(batches) for at in order)
    else:
        yield from ((at, batch) for at in order for batch in range(batches))


class _Newest(Generic[T]):
    """What a function made of the last number that was asked for; it is let go before the next is made."""

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
    """One mini-batch on the device: `rows` [B] are its places in the block."""

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
        beside = {"labels": torch.from_numpy(labels[rows]).long()}
        if keys is not None:
            beside["keys"] = torch.from_numpy(keys[rows])
        beside = moved(beside, device)
        return _Batch(rows, moved(pad(rows), device), beside["labels"], beside.get("keys"))


@dataclass(frozen=True)
class VisitRequirements:
    """What the scores that look at one checkpoint need together."""

    needs: Need
    objectives: frozenset[str]
    tensors: Mapping[str, Mapping[str, Tensor]]
    directions: Mapping[str, Mapping[str, Tensor]]
    by_loop: bool = False

    @staticmethod
    def from_scores(
        scores: Iterable[Score[Any]], at: int, references: References | None, by_loop: bool = False
    ) -> VisitRequirements:
        """Unite what scores need of checkpoint `at`; raises ScoreError where references are wanted and not given."""
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
        found = references(at, wanted)
        return VisitRequirements(needs, objectives, found.tensors, found.directions, by_loop)


def _visit(
    model: nn.Module, inputs: dict[str, Tensor], labels: Tensor, wish: VisitRequirements, autocast: torch.dtype | None
) -> Artifacts:
    """Collect what is wished for; out of memory, from both halves of the mini-batch apart, padded as it is."""
    try:
        return collect(
            model,
            inputs,
            labels,
            wish.needs,
            wish.objectives,
            directions=wish.directions,
            autocast=autocast,
            by="loop" if wish.by_loop else "rules",
        )
    except torch.OutOfMemoryError:
        if len(labels) == 1:
            raise
    # Outside the handler: the traceback would keep the tensors of the failed visit alive.
    half = len(labels) // 2
    parts = [
        _visit(model, {name: value[cut] for name, value in inputs.items()}, labels[cut], wish, autocast)
        for cut in (slice(None, half), slice(half, None))
    ]
    return join_artifacts(parts)


def _finite(values: Tensor) -> NDArray[np.float32]:
    found = values.float().cpu().numpy()
    return np.where(np.isfinite(found), found, np.float32(np.nan))
