"""What a scoring worker will hold in memory, and which of its models must take turns, planned before it starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from raysample import models as model
from raysample.core.numerics.memory import format_memory
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.influence.references.folder import DIRECTIONS
from raysample.influence.scores import Score, create_scores
from raysample.influence.shards.job import ScoreJob
from raysample.influence.visits.artifacts import Need

_KEPT_BY_LAYER = 17
"""Numbers per token and hidden unit that a transformer's layer keeps for its backward: inputs of its products."""

_GRADIENTS = Need.GRAD_NORMS | Need.GRAD_DOTS | Need.EMBEDDING_GRADS
_FLOAT = 4
_ADVICE = "lower corpus.shard_rows or score.batch_tokens, or take fewer workers for each machine"


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes that a scoring worker needs, beside what its process takes anyway, and what follows for its models.

    Attributes:
        models: that the scores look at, of all runs together. model: bytes of one, with the directions at it.
        batch: of a mini-batch on its way through a model (an estimate).
        block: of the scores' states of a whole shard, which are alive where the models take turns (an estimate).
        rows: of that shard.
        room: what a worker may take; None: nobody knows.
        held: how many models it has in memory at a time; None: all.
    """

    models: int
    model: int
    batch: int
    block: int
    rows: int
    room: int | None
    held: int | None

    @property
    def needed(self) -> int:
        """Bytes in all."""
        held, block = (self.models, 0) if self.held is None else (self.held, self.block)
        return held * self.model + self.batch + block

    def __str__(self) -> str:
        """Return the plan in words."""
        told = f"{self.models} models of {format_memory(self.model)}, mini-batches of about {format_memory(self.batch)}"
        if self.held is None:
            told += "; all models stay in memory"
        else:
            told += (
                f"; {self.held} in memory at a time, {self.models - self.held + 1} come from the disk in turn, "
                f"for every {self.rows:,} rows, whose states take about {format_memory(self.block)}"
            )
        if self.room is not None:
            told += f"; a worker may take {format_memory(self.room)}"
            if self.needed > self.room:
                told += f", {format_memory(self.needed - self.room)} less than that: {_ADVICE}"
        return told


def memory_plan(job: ScoreJob, corpus: Corpus, room: int | None) -> MemoryPlan | None:
    """Plan the memory of a worker that scores this corpus; None where no checkpoint is visited.

    Args:
        job: what is scored, at which checkpoints.
        corpus: in its shards.
        room: bytes that a worker may take, beside what its process takes anyway.
    """
    if job.config.source == "capture":
        return None
    scores = create_scores(job.config.scores).values()
    size = model.model_size(CheckpointSet.load(job.traces[0]).checkpoints[-1].uri)
    rows, tokens = max(shard.rows for shard in corpus.shards), max(job.config.budget, job.model.max_length)
    depth = size.layers if any(score.needs & _GRADIENTS for score in scores) else 1
    # Mean and sum of squares of a gradient at every token, for each score that folds these.
    folded = 2 * sum(Need.EMBEDDING_GRADS in score.needs for score in scores)
    found = MemoryPlan(
        models=sum(_visited(CheckpointSet.load(uri), scores) for uri in job.traces),
        model=size.bytes * (1 + _directions(scores, len(corpus.labels))),
        batch=_FLOAT * tokens * size.hidden * (_KEPT_BY_LAYER * depth + folded),
        block=_FLOAT * rows * job.model.max_length * size.hidden * folded,
        rows=rows,
        room=room,
        held=None,
    )
    if room is None or found.needed <= room or found.models == 1:
        return found
    fits = (room - found.batch - found.block) // max(1, found.model)
    return replace(found, held=max(1, min(fits, found.models - 1)))


def _visited(trace: CheckpointSet, scores: Iterable[Score[Any]]) -> int:
    """Return how many checkpoints of a run are loaded: those of all windows, and the last."""
    places = {place for score in scores for place in score.select(trace.checkpoints)}
    return len(places | {len(trace.checkpoints) - 1})


def _directions(scores: Iterable[Score[Any]], classes: int) -> int:
    """Return how many gradients as large as the model are held beside each model."""
    wanted = {reference for score in scores for reference in score.references if reference.kind in DIRECTIONS}
    return sum(classes if reference.given.get("by") == "class" else 1 for reference in wanted)
