"""`plan`: estimates of a run's cost from a miniature run on a few rows: the same code, measured and extrapolated."""

from __future__ import annotations

import itertools
import resource
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raysample import models
from raysample.core import storage
from raysample.core.config import FineTuneConfig, RunConfig
from raysample.data.checkpoint_set import Checkpoint, CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.execution.local import LocalExecutor
from raysample.training import schedule_training as layout
from raysample.training.fine_tuning import Job, execute, finish_job
from raysample.workflow.context import RunContext
from raysample.workflow.score import score_corpus
from raysample.workflow.score_request import ScoreRequest


@dataclass(frozen=True)
class Estimate:
    """Estimate of one step of a run.

    Attributes:
        step: name of the step.
        work: amount of work, as text.
        seconds: time of one worker.
        workers: number of workers that share the work.
    """

    step: str
    work: str
    seconds: float
    workers: int

    @property
    def elapsed(self) -> float:
        """Elapsed seconds, assuming perfect parallelism."""
        return self.seconds / max(1, self.workers)


@dataclass(frozen=True)
class Outlook:
    """Estimated time, memory and storage of a run.

    Attributes:
        rows: training rows.
        sample: rows of the miniature run, which took `measured` seconds.
        steps: the estimates.
        checkpoints: number of scored checkpoints of all runs; checkpoint_bytes: size of each.
        actor_bytes: memory of a scoring actor: this process's peak, plus the checkpoints that the miniature lacked.
        table_bytes: size of the score table.
    """

    rows: int
    sample: int
    measured: float
    steps: tuple[Estimate, ...]
    checkpoints: int
    checkpoint_bytes: int
    actor_bytes: int
    table_bytes: int


def outlook(
    config: RunConfig,
    train: Corpus,
    test: Corpus,
    slots: int,
    folder: str,
    rows: int = 256,
    adopted: CheckpointSet | None = None,
) -> Outlook:
    """Fine-tune and score a few rows in this process, in a temporary folder, and extrapolate.

    Landmarks and the preset `economy` are left out: the estimate is for scoring every row at all checkpoints.

    Args:
        config: the run.
        train, test: its corpora.
        slots: number of workers that can run at once.
        folder: working folder of the miniature run.
        rows: its number of rows, taken from whole shards.
        adopted: the checkpoints of a run with `adopt`; the training time is then used for retrainings only.
    """
    began = time.perf_counter()
    some, tests = (few(corpus, rows, storage.join(folder, name)) for name, corpus in (("train", train), ("test", test)))
    recipe = config.fine_tune
    whole = layout(recipe.rows_per_epoch(train.rows), recipe)
    held = len(whole.save_at) * config.score.runs if adopted is None else len(adopted.checkpoints)
    small = in_small(recipe, some.rows, len(whole.save_at) if adopted is None else 1)
    base = models.prepare_base(config.model, train, storage.join(folder, "model"))
    trained, per_step = _fine_tuned(some, tests, base, config, small, storage.join(folder, "checkpoints"))
    checkpoint_set = adopted or trained
    scores = config.score.model_copy(update={"landmarks": None, "economy": None, "runs": 1})
    request = ScoreRequest([checkpoint_set], scores, config.model, storage.join(folder, "scores"))
    table = score_corpus(request, some, RunContext(LocalExecutor()))
    size, miniature = _model_bytes(checkpoint_set.checkpoints[-1]), len(checkpoint_set.checkpoints)
    return Outlook(
        rows=train.rows,
        sample=some.rows,
        measured=time.perf_counter() - began,
        steps=(
            *(() if adopted else (_training(config, whole.steps, per_step, slots),)),
            _scoring(config, train.rows, some.rows, table, held / miniature, slots),
            _comparing(config, train.rows, per_step, slots),
        ),
        checkpoints=held,
        checkpoint_bytes=size,
        actor_bytes=peak() + (held - miniature) * size,
        table_bytes=round(sum(_bytes(storage.join(table.uri, part)) for part in table.parts) * train.rows / some.rows),
    )


def few(corpus: Corpus, rows: int, uri: str) -> Corpus:
    """Return a corpus of about `rows` rows, from few, randomly chosen shards."""
    shards = [corpus.shards[i] for i in np.random.default_rng(0).permutation(len(corpus.shards))]
    chosen, left = dict[int, Any](), rows
    for shard in shards:
        if left <= 0:
            break
        chosen[shard.index] = np.arange(min(shard.rows, max(left, 1)))
        left -= len(chosen[shard.index])
    return corpus.restricted(dict(sorted(chosen.items())), uri)


def in_small(recipe: FineTuneConfig, rows: int, checkpoints: int) -> FineTuneConfig:
    """Return the recipe for a few rows: as many epochs and, if there are enough steps, checkpoints."""
    batch = min(recipe.batch_size, max(1, rows // 4))
    steps = layout(rows, recipe.model_copy(update={"batch_size": batch})).steps
    kept = {"checkpoints": min(checkpoints, steps), "checkpoint_every": None, "checkpoints_per_epoch": None}
    kept |= {"early_checkpoints": None, "early_stopping": None, "dynamic": None}
    return recipe.model_copy(update={**kept, "batch_size": batch})


def _fine_tuned(
    train: Corpus, test: Corpus, base: str, config: RunConfig, recipe: FineTuneConfig, folder: str
) -> tuple[CheckpointSet, float]:
    """Train the miniature; return its checkpoints, and the median seconds per step at the original batch size."""
    job = Job(train.uri, test.uri, base, config.model, recipe, folder=folder, key="plan")
    times = list[float]()

    def note(*_arguments: object) -> None:
        """Record the time of a step."""
        times.append(time.perf_counter())

    outcome = execute(job, progress=note)
    # The first steps are slower, and some steps save a checkpoint: the median ignores both.
    step = statistics.median([after - before for before, after in itertools.pairwise(times)] or [outcome.seconds])
    return finish_job(job, outcome), step * config.fine_tune.batch_size / recipe.batch_size


def _training(config: RunConfig, steps: int, per_step: float, slots: int) -> Estimate:
    """Return the estimate of the fine-tuning."""
    runs, workers = config.score.runs, min(config.fine_tune.workers_range[1], slots)
    work = f"{steps:,} steps" if runs == 1 else f"{runs} x {steps:,} steps"
    return Estimate("fine-tune", work, runs * steps * per_step, workers)


def _scoring(config: RunConfig, rows: int, sample: int, table: ScoreTable, scale: float, slots: int) -> Estimate:
    """Return the estimate of scoring, scaled from the miniature by rows and checkpoints."""
    seconds = table.cost["score_seconds"] * scale * rows / sample
    work = f"{rows:,} rows x {len(config.score.scores)} scores"
    prepared = table.cost["prepare_seconds"]
    return Estimate("score", work, seconds + prepared, min(slots, config.score.workers or slots))


def _comparing(config: RunConfig, rows: int, per_step: float, slots: int) -> Estimate:
    """Return the estimate of all retrainings, including full-data runs of seeds that are not among the scored runs."""
    compare, whole = config.compare, layout(rows, config.fine_tune).steps
    kept = [
        layout(round(share * rows), config.fine_tune, whole if regime == "equal_steps" else None).steps
        for share in compare.fractions
        for regime in compare.regimes(share)
    ]
    watched = config.score.runs if config.adopt is None and config.fine_tune.dynamic is None else 0
    scored = {config.fine_tune.seed + run for run in range(watched)}
    full = [whole for seed in compare.seeds if seed not in scored]
    steps = sum(full) + sum(kept) * len(compare.arms) * len(compare.seeds)
    runs = len(full) + len(kept) * len(compare.arms) * len(compare.seeds)
    workers = min(slots, compare.workers or slots, max(1, runs))
    return Estimate("compare", f"{runs} retrainings, {steps:,} steps", steps * per_step, workers)


def peak() -> int:
    """Return the peak memory of this process, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0]) * 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def _model_bytes(checkpoint: Checkpoint) -> int:
    """Return the bytes that a scoring actor loads of a checkpoint: without training states of adopted folders."""
    if not checkpoint.files:
        return _bytes(checkpoint.uri)
    return sum(_bytes(storage.join(checkpoint.uri, name)) for name in checkpoint.files)


def _bytes(uri: str) -> int:
    """Return the size of a file or folder, in bytes."""
    fs, path = storage.filesystem(uri)
    return int(fs.du(path))
