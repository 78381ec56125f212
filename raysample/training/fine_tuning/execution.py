"""Run a job on this worker, from its first step or its newest state to the evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from raysample import models
from raysample.core import storage
from raysample.core.errors import TrainingError
from raysample.core.numerics.precision import resolve
from raysample.data.corpus import Corpus
from raysample.evaluation import Evaluation
from raysample.training import (
    DistributedContext,
    EpochRows,
    Examples,
    LossPrunedRows,
    TrainingSchedule,
    capture,
    examine,
    schedule_training,
    train,
)
from raysample.training.distributed import is_distributed, wrap_model
from raysample.training.fine_tuning.completion import TRAINING_CURVE_FILE
from raysample.training.fine_tuning.job import Job, Outcome
from raysample.training.fine_tuning.resume import kept_by, resumed
from raysample.training.fine_tuning.rows import corpora_of, training_rows
from raysample.training.levels import trained
from raysample.training.record import recorded
from raysample.training.snapshot import Snapshot

Progress = Callable[[int, int, float], None]


def execute(
    job: Job,
    context: DistributedContext = DistributedContext(),
    *,
    attempt: str = "",
    progress: Progress | None = None,
    urgent: Callable[[], bool] | None = None,
) -> Outcome:
    """Run a job, or resume it if its folder holds a state of it; every worker calls this with its context.

    Args:
        job: the job.
        context: this worker; only rank 0 saves and evaluates, every worker captures its rows.
        attempt: the call of a driver that this belongs to, the same for all workers and restarts of it.
        progress: called as progress(step, total steps, loss).
        urgent: see `training.train`.
    """
    began = time.perf_counter()
    corpus = Corpus.load(job.train)
    data, held_out = training_rows(job, corpus)
    layout = _layout(job, len(data))
    levels = trained(corpus, job.config, Corpus.load(job.test))
    # Also built for a resume: the state has weights and optimiser only, not the architecture.
    core = models.build_model(job.base, job.model, corpus.labels, job.config.seed, levels)
    sharded = job.config.sharding == "full" and is_distributed(context)
    wrapped = wrap_model(core, context, sharded)
    saver, states = kept_by(job, core, layout, context, sharded)
    resume = resumed(states, saver, context, attempt)
    curve = train(
        wrapped,
        data,
        job.config,
        layout,
        context,
        save=saver if saver is not None and (context.rank == 0 or sharded) else None,
        progress=None if progress is None else lambda step, loss: progress(step, layout.steps, loss),
        capture=_recorder(job, data, layout, len(corpus.labels), context.rank, resume),
        resume=resume,
        states=states,
        # With capture a run resumes at the end of an epoch only: an urgent state within an epoch would be useless.
        urgent=None if states is None or job.config.capture else urgent,
        held_out=held_out,
    )
    evaluation, validation = _evaluated(job, core, context, sharded)
    if context.rank != 0:
        return Outcome(len(data), curve.last, evaluation, 0.0)
    if job.folder is not None:
        storage.write_parquet(storage.join(job.folder, TRAINING_CURVE_FILE), curve.table())
    return Outcome(
        len(data),
        curve.last,
        evaluation,
        round(time.perf_counter() - began + (0.0 if resume is None else resume.curve.seconds), 3),
        () if saver is None else tuple(saver.saved),
        context.world,
        () if states is None else tuple(states.notes),
        () if states is None else tuple((start.step, start.workers) for start in states.starts),
        {} if job.folder is None else recorded(core, job.base, job.model, job.config.seed, corpora_of(job)),
        validation,
    )


def _layout(job: Job, rows: int) -> TrainingSchedule:
    """Return the schedule of a job on `rows` rows."""
    layout = schedule_training(rows, job.config, job.steps)
    if job.redraws and layout.passes > 1 + len(job.redraws):
        raise TrainingError(
            f"the training has {layout.passes} epochs, and its rows were drawn for {1 + len(job.redraws)}",
            "draw a selection for every epoch",
        )
    return layout if job.save_at is None else replace(layout, save_at=job.save_at)


def _evaluated(
    job: Job, core: nn.Module, context: DistributedContext, sharded: bool
) -> tuple[Evaluation, Evaluation | None]:
    """Evaluate the model on the test and validation corpora, with the levels that have a head.

    The new texts of the test are those that neither training nor validation rows have: validation chose the model.
    Rank 0 alone evaluates; a sharded model needs all workers for each forward.
    """
    if context.rank != 0 and not sharded:
        return Evaluation({}, ()), None
    rows, precision = corpora_of(job), resolve(job.config.precision, core, context.device)
    new = rows["test"].new_texts(corpus for name, corpus in rows.items() if name != "test")
    found = {
        name: examine(
            core,
            replace(rows[name], examples=rows[name].examples.headed(job.config)),
            rows["train"],
            context.device,
            precision,
            new if name == "test" else None,
        )
        for name in ("validation", "test")
        if name in rows
    }
    return found["test"], found.get("validation")


def _recorder(
    job: Job,
    data: Examples | EpochRows | LossPrunedRows,
    layout: TrainingSchedule,
    classes: int,
    rank: int,
    resume: Snapshot | None,
) -> Callable[[NDArray[np.int64], Tensor, int], None] | None:
    """Return the callback that captures the logits of the scored label, or None without capture."""
    if job.folder is None or not job.config.capture or not isinstance(data, Examples):
        return None
    recorder = capture.Recorder(job.folder, data, layout, classes, rank, 0 if resume is None else resume.step)
    scored = slice(None) if data.levels is None else data.levels.label
    return lambda rows, logits, step: recorder(rows, logits[:, scored], step)
