"""The memory that a scoring worker needs, and how many models it keeps in memory, planned before it starts.

All estimates are in bytes. The order of preference: all models resident (a mini-batch visits all checkpoints, states of
one mini-batch are alive); else as many models as fit beside the states of a whole shard, which are then alive at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from raysample import models as model
from raysample.core.units import format_bytes
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.influence.references.folder import DIRECTIONS
from raysample.influence.scores import Score, create_scores
from raysample.influence.shards.job import ScoreJob
from raysample.influence.visits.artifacts import Need

_KEPT_BY_LAYER = 17
"""Numbers per token and hidden unit that one transformer layer saves for its backward: the inputs of its products."""

_GRADIENTS = Need.GRAD_NORMS | Need.GRAD_DOTS | Need.EMBEDDING_GRADS
_FLOAT = 4
_ADVICE = "lower corpus.shard_rows or score.batch_tokens, or take fewer workers for each machine"


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes that a scoring worker needs beyond the baseline of its process, and the number of models in memory.

    Attributes:
        models: checkpoints that the scores visit, over all runs.
        model: bytes of one model, including the directions at its checkpoint.
        batch: bytes of one mini-batch during a visit (an estimate).
        block: bytes of the scores' states for a whole shard, which are alive if models take turns (an estimate).
        rows: rows of the largest shard.
        memory_per_worker: memory budget per worker in bytes, or None if unknown.
        max_resident_models: models in memory at a time, or None for all of them.
    """

    models: int
    model: int
    batch: int
    block: int
    rows: int
    memory_per_worker: int | None
    max_resident_models: int | None

    @property
    def needed(self) -> int:
        """Bytes in total."""
        if self.max_resident_models is None:
            return self.models * self.model + self.batch
        return self.max_resident_models * self.model + self.batch + self.block

    def __str__(self) -> str:
        """Return the plan as one line for the user."""
        text = f"{self.models} models of {format_bytes(self.model)}, mini-batches of about {format_bytes(self.batch)}"
        if self.max_resident_models is None:
            text += "; all models stay in memory"
        else:
            text += (
                f"; {self.max_resident_models} in memory at a time, "
                f"{self.models - self.max_resident_models + 1} come from the disk in turn, "
                f"for every {self.rows:,} rows, whose states take about {format_bytes(self.block)}"
            )
        if self.memory_per_worker is not None:
            text += f"; a worker may take {format_bytes(self.memory_per_worker)}"
            if self.needed > self.memory_per_worker:
                text += f", {format_bytes(self.needed - self.memory_per_worker)} less than that: {_ADVICE}"
        return text


def memory_plan(job: ScoreJob, corpus: Corpus, memory_per_worker: int | None) -> MemoryPlan | None:
    """Plan the memory of a worker that scores this corpus; None if no checkpoint is visited.

    Args:
        job: the scores and the checkpoints.
        corpus: the corpus in its shards.
        memory_per_worker: memory budget in bytes beyond the baseline of a worker's process, or None if unknown.
    """
    if job.config.source == "capture":
        return None
    scores = create_scores(job.config.scores).values()
    size = model.model_size(CheckpointSet.load(job.checkpoint_sets[0]).checkpoints[-1].uri)
    rows, tokens = max(shard.rows for shard in corpus.shards), max(job.config.budget, job.model.max_length)
    # A forward alone frees the activations of a layer after the next one; a backward keeps those of all layers.
    depth = size.layers if any(score.needs & _GRADIENTS for score in scores) else 1
    # The state of a score that folds embedding gradients: mean and sum of squares, each [T, D] per example.
    folded = 2 * sum(Need.EMBEDDING_GRADS in score.needs for score in scores)
    found = MemoryPlan(
        models=sum(_visited(CheckpointSet.load(uri), scores) for uri in job.checkpoint_sets),
        model=size.bytes * (1 + _directions(scores, len(corpus.labels))),
        # Activations of one mini-batch, plus the fold states of its rows.
        batch=_FLOAT * tokens * size.hidden * (_KEPT_BY_LAYER * depth + folded),
        # Only scores that fold embedding gradients have states of more than a few numbers per row.
        block=_FLOAT * rows * job.model.max_length * size.hidden * folded,
        rows=rows,
        memory_per_worker=memory_per_worker,
        max_resident_models=None,
    )
    if memory_per_worker is None or found.needed <= memory_per_worker or found.models == 1:
        return found
    # Models take turns: the states of a whole shard are alive, and at least one model must be in memory.
    fits = (memory_per_worker - found.batch - found.block) // max(1, found.model)
    return replace(found, max_resident_models=max(1, min(fits, found.models - 1)))


def _visited(checkpoint_set: CheckpointSet, scores: Iterable[Score[Any]]) -> int:
    """Return the number of checkpoints of a run that are loaded: those in any window, and the last one."""
    places = {place for score in scores for place in score.select(checkpoint_set.checkpoints)}
    return len(places | {len(checkpoint_set.checkpoints) - 1})


def _directions(scores: Iterable[Score[Any]], classes: int) -> int:
    """Return the number of gradients, each as large as the model, that stay in memory beside each model."""
    wanted = {reference for score in scores for reference in score.references if reference.kind in DIRECTIONS}
    return sum(classes if reference.given.get("by") == "class" else 1 for reference in wanted)
