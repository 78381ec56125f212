"""One fine-tuning from start to end, described by a picklable Job: read, tokenise, train, save checkpoints, test.

The same `execute` runs in this process, in a Ray task (the arms of a comparison) and in a Ray Train worker (rank and
world size then come from Ray).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from raysample import capture, model, storage, version
from raysample.checkpoints import Checkpoint, CheckpointSet
from raysample.config import FineTuneConfig, ModelConfig
from raysample.corpus import Corpus
from raysample.errors import ProvenanceError, SelectionError
from raysample.evaluation import Evaluation
from raysample.numerics.precision import resolve
from raysample.selection import Selection
from raysample.training import Examples, Place, Plan, assess, plan, train
from raysample.training.losses import class_weights
from raysample.training.parallel import spread, together, told
from raysample.training.saving import Saver
from raysample.training.snapshot import Snapshot
from raysample.training.states import FOLDER as STATES
from raysample.training.states import StoredStates
from raysample.training.stopping import split

Progress = Callable[[int, int, float], None]
EVALUATION = "evaluation.json"
CURVE = "curve.parquet"


@dataclass(frozen=True)
class Job:
    """What one fine-tuning reads and writes.

    Attributes:
        train, test: URIs of Corpus folders.
        base: model folder or hub name to start from, from `model.prepare`.
        model, config: the recipe; `config.seed` is the run's seed.
        selection: URI of a Selection folder to train on; None trains on all rows.
        folder: where checkpoints, states, captured logits and the manifests go; None saves none.
        steps: fixed number of optimiser steps; None trains `config.epochs` epochs.
        save_at: the steps whose checkpoints are saved; None saves those of the configured cadence.
        key: identity of the job by content, for reuse of finished work.
    """

    train: str
    test: str
    base: str
    model: ModelConfig
    config: FineTuneConfig
    selection: str | None = None
    folder: str | None = None
    steps: int | None = None
    save_at: tuple[int, ...] | None = None
    key: str = ""


@dataclass(frozen=True)
class Outcome:
    """What one fine-tuning came to, by `workers` workers in the end.

    `notes` tell of states that could not be used, `starts` from which step, and with how many workers, it began or went
    on.
    """

    rows: int
    steps: int
    evaluation: Evaluation
    seconds: float
    checkpoints: tuple[Checkpoint, ...] = ()
    workers: int = 1
    notes: tuple[str, ...] = ()
    starts: tuple[tuple[int, int], ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return JSON-able data, without the checkpoints (they have their own manifest)."""
        return {
            "rows": self.rows,
            "steps": self.steps,
            "seconds": self.seconds,
            "starts": [list(start) for start in self.starts],
            "metrics": self.evaluation.metrics,
            "recall": [None if value != value else value for value in self.evaluation.recall],
        }

    @staticmethod
    def of(data: dict[str, Any]) -> Outcome:
        """Read back what `plain` wrote."""
        recall = tuple(float("nan") if value is None else float(value) for value in data["recall"])
        return Outcome(data["rows"], data["steps"], Evaluation(data["metrics"], recall), data["seconds"])


def execute(
    job: Job,
    place: Place = Place(),
    *,
    attempt: str = "",
    progress: Progress | None = None,
    urgent: Callable[[], bool] | None = None,
) -> Outcome:
    """Run a job, or go on with it where its folder holds a state of it; each worker calls this with its place.

    Args:
        job: what to do.
        place: this worker; only rank 0 saves and tests, every one captures its rows.
        attempt: which call of a driver this belongs to, the same for all workers and restarts of it.
        progress: called as progress(step, all steps, loss).
        urgent: see `training.train`.
    """
    began = time.perf_counter()
    corpus = Corpus.load(job.train)
    data, held_out = _rows(job, corpus)
    layout = _layout(job, len(data))
    core = model.build(job.base, job.model, corpus.labels, job.config.seed)
    sharded = job.config.sharding == "full" and together(place)
    spread_out = spread(core, place, sharded)
    saver, states = _storage(job, core, layout, place, sharded)
    resume = _resumed(states, saver, place, attempt)
    curve = train(
        spread_out,
        data,
        job.config,
        layout,
        place,
        save=saver if saver is not None and (place.rank == 0 or sharded) else None,
        progress=None if progress is None else lambda step, loss: progress(step, layout.steps, loss),
        capture=_recorder(job, data, layout, len(corpus.labels), place.rank, resume),
        resume=resume,
        states=states,
        urgent=None if states is None or job.config.capture else urgent,
        held_out=held_out,
    )
    evaluation = _tested(job, core, place) if place.rank == 0 or sharded else Evaluation({}, ())
    if place.rank != 0:
        return Outcome(len(data), curve.last, evaluation, 0.0)
    if job.folder is not None:
        storage.write_parquet(storage.join(job.folder, CURVE), curve.table())
    return Outcome(
        len(data),
        curve.last,
        evaluation,
        round(time.perf_counter() - began + (0.0 if resume is None else resume.curve.seconds), 3),
        () if saver is None else tuple(saver.saved),
        place.world,
        () if states is None else tuple(states.notes),
        () if states is None else tuple((start.step, start.workers) for start in states.starts),
    )


def _rows(job: Job, corpus: Corpus) -> tuple[Examples, Examples | None]:
    """Return the weighted rows that are trained on, and those that early stopping looks at."""
    data = examples(job.train, corpus.fingerprint, job.base, job.model)
    data = data if job.selection is None else _chosen(data, corpus, job.selection)
    stopping, wanted = job.config.early_stopping, job.config.class_weights
    data, held_out = (data, None) if stopping is None else split(data, stopping, job.config.seed)
    if wanted is not None:
        weights = class_weights(wanted, data.labels, corpus.labels)
        data = data.weighted(weights if data.weights is None else weights * data.weights)
    return data, held_out


def _layout(job: Job, rows: int) -> Plan:
    layout = plan(rows, job.config, job.steps)
    return layout if job.save_at is None else replace(layout, save_at=job.save_at)


def _storage(
    job: Job, core: nn.Module, layout: Plan, place: Place, sharded: bool
) -> tuple[Saver | None, StoredStates | None]:
    """Return who saves checkpoints and states, where the job has a folder for them."""
    if job.folder is None:
        return None, None
    words = model.tokenizer(job.base, trust_remote_code=job.model.trust_remote_code)
    saver = Saver(job.folder, core, words, layout, place, sharded)
    # The running epoch of a capture lies on the workers' disks: a run with one goes on from the end of an epoch.
    every = layout.steps_per_epoch if job.config.capture else 1
    return saver, StoredStates(job.folder, _identity(job), job.config.resume, every, saver.holds)


def _identity(job: Job) -> str:
    """Return the fingerprint of all that the trained weights and the saved checkpoints depend on."""
    chosen = None if job.selection is None else Selection.load(job.selection).fingerprint
    rows = [Corpus.load(uri).fingerprint for uri in (job.train, job.test)]
    return storage.fingerprint(
        [rows, chosen, job.base, job.model.plain(), job.config.recipe, job.steps, job.save_at, version.__version__]
    )


def _resumed(states: StoredStates | None, saver: Saver | None, place: Place, attempt: str) -> Snapshot | None:
    """Return the state to go on from, the same on every worker: rank 0 chooses it."""
    if states is None or saver is None:
        return None
    found = states.newest() if place.rank == 0 else None
    step = told(0 if found is None else found.step, place)
    if place.rank == 0:
        states.begin(step, attempt, place.world)
    elif step:
        found = states.read(step)
    if found is not None:
        saver.resume(found.curve.table()["learning_rate"].to_pylist())
    return found


def _tested(job: Job, core: nn.Module, place: Place) -> Evaluation:
    held_out = Corpus.load(job.test)
    rows = examples(job.test, held_out.fingerprint, job.base, job.model)
    return assess(core, rows, place.device, resolve(job.config.precision, core, place.device))


def _recorder(
    job: Job, data: Examples, layout: Plan, classes: int, rank: int, resume: Snapshot | None
) -> capture.Recorder | None:
    if job.folder is None or not job.config.capture:
        return None
    return capture.Recorder(job.folder, data, layout, classes, rank, 0 if resume is None else resume.step)


def clear(job: Job) -> None:
    """Empty a job's folder, unless there is a state of this very job to go on from."""
    assert job.folder is not None
    if not StoredStates(job.folder, _identity(job), job.config.resume).known():
        storage.remove(job.folder)


def retold(outcome: Outcome) -> list[str]:
    """Return in words from where a run went on; nothing where it ran through."""
    places = [f"step {step} ({count} worker{'s' if count > 1 else ''})" for step, count in outcome.starts[1:]]
    return [f"went on from {', '.join(places)}"] if places else []


def steps(job: Job) -> int:
    """Return how many optimiser steps a job takes."""
    rows = Corpus.load(job.train).rows if job.selection is None else Selection.load(job.selection).counts["kept"]
    held_out = 0.0 if job.config.early_stopping is None else job.config.early_stopping.holdout
    return plan(max(1, round(rows * (1 - held_out))), job.config, job.steps).steps


def finish(job: Job, outcome: Outcome) -> CheckpointSet:
    """Write the manifests and the evaluation of a job that saved checkpoints; the set's manifest comes last."""
    assert job.folder is not None
    corpus = Corpus.load(job.train)
    if job.config.capture:
        layout = plan(outcome.rows, job.config, job.steps)
        capture.seal(job.folder, outcome.rows, len(corpus.labels), layout)
    storage.write_json(storage.join(job.folder, EVALUATION), outcome.plain())
    trace = CheckpointSet(
        checkpoints=outcome.checkpoints,
        labels=corpus.labels,
        seed=job.config.seed,
        corpus=corpus.fingerprint,
        config={"key": job.key, "base": job.base, "model": job.model.plain(), "fine_tune": job.config.plain()},
        metrics=outcome.evaluation.metrics,
    ).save(job.folder)
    storage.remove(storage.join(job.folder, STATES))
    return trace


def examples(uri: str, fingerprint: str, base: str, config: ModelConfig) -> Examples:
    """Read and tokenise a corpus; kept in memory, since a worker trains many arms on the same rows."""
    return _examples(uri, fingerprint, base, config.max_length, config.trust_remote_code)


@lru_cache(maxsize=4)
def _examples(uri: str, fingerprint: str, base: str, max_length: int, trust: bool) -> Examples:
    del fingerprint  # part of the cache's key: a corpus described anew is read anew
    corpus = Corpus.load(uri)
    words = model.tokenizer(base, trust_remote_code=trust)
    table = corpus.table()
    labels = table["label"].to_numpy().astype(np.int64)
    ids = table["row_id"].to_numpy(zero_copy_only=False)
    return Examples(model.encode(words, table, max_length), labels, int(words.pad_token_id), ids)


def _chosen(data: Examples, corpus: Corpus, uri: str) -> Examples:
    selection = Selection.load(uri)
    if selection.corpus != corpus.fingerprint:
        raise ProvenanceError(
            f"the selection {uri!r} was made from another corpus than {corpus.uri!r}",
            "score and sample this corpus, or train on the corpus that the selection names",
        )
    kept = selection.kept()
    rows = pd.Index(data.ids).get_indexer(kept["row_id"].to_numpy())
    if (rows < 0).any():
        raise SelectionError(
            f"{int((rows < 0).sum())} of the {len(rows)} rows that the selection {uri!r} keeps are not in the corpus",
            "sample again from the score table of this corpus",
        )
    order = np.argsort(rows)
    return data.take(rows[order]).weighted(kept["weight"].to_numpy()[order])
