"""One fine-tuning from start to end, described by a picklable Job: read, tokenise, train, save checkpoints, test.

The same `execute` runs in this process, in a Ray task (the arms of a comparison) and in a Ray Train worker (rank and
world size then come from Ray).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor, nn

from raysample import capture, checkpoints, model, storage
from raysample.checkpoints import Checkpoint, CheckpointSet
from raysample.config import FineTuneConfig, ModelConfig
from raysample.corpus import Corpus, Levels
from raysample.errors import ProvenanceError, SelectionError
from raysample.evaluation import Evaluation
from raysample.numerics.precision import resolve
from raysample.selection import Selection
from raysample.training import Examples, Place, Plan, assess, plan, train
from raysample.training.levels import LevelLabels, check, trained

Progress = Callable[[int, int, float], None]
EVALUATION = "evaluation.json"


@dataclass(frozen=True)
class Job:
    """What one fine-tuning reads and writes.

    Attributes:
        train, test: URIs of Corpus folders.
        base: model folder or hub name to start from, from `model.prepare`.
        model, config: the recipe; `config.seed` is the run's seed.
        selection: URI of a Selection folder to train on; None trains on all rows.
        folder: where checkpoints, captured logits and the manifests go; None saves none.
        steps: fixed number of optimiser steps; None trains `config.epochs` epochs.
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
    key: str = ""


@dataclass(frozen=True)
class Outcome:
    """What one fine-tuning came to, by `workers` workers."""

    rows: int
    steps: int
    evaluation: Evaluation
    seconds: float
    checkpoints: tuple[Checkpoint, ...] = ()
    workers: int = 1

    def plain(self) -> dict[str, Any]:
        """Return JSON-able data, without the checkpoints (they have their own manifest)."""
        return {
            "rows": self.rows,
            "steps": self.steps,
            "seconds": self.seconds,
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
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module,
    progress: Progress | None = None,
) -> Outcome:
    """Run a job; with several workers each calls this with its place, and `wrap` puts the model into DDP.

    Args:
        job: what to do.
        place: this worker; only rank 0 saves and tests, every one captures its rows.
        wrap: makes the module that is trained (DDP, device moves) from the plain one.
        progress: called as progress(step, all steps, loss).
    """
    began = time.perf_counter()
    corpus = Corpus.load(job.train)
    data = examples(job.train, corpus.fingerprint, job.base, job.model)
    data = data if job.selection is None else _chosen(data, corpus, job.selection)
    layout = plan(len(data), job.config, job.steps)
    levels = _levels(job, corpus)
    data = _headed(data, job.config)
    core = model.build(job.base, job.model, corpus.labels, job.config.seed, levels).to(place.device)
    saver = Saver(job, core, layout.epoch) if job.folder is not None and place.rank == 0 else None
    train(
        wrap(core),
        data,
        job.config,
        layout,
        place,
        save=saver,
        progress=None if progress is None else lambda step, loss: progress(step, layout.steps, loss),
        capture=_recorder(job, data, layout, len(corpus.labels), place.rank),
    )
    if place.rank != 0:
        return Outcome(len(data), layout.steps, Evaluation({}, ()), 0.0)
    held_out = Corpus.load(job.test)
    rows = _headed(examples(job.test, held_out.fingerprint, job.base, job.model), job.config)
    evaluation = assess(core, rows, place.device, resolve(job.config.precision, core, place.device))
    saved = tuple(saver.saved) if saver is not None else ()
    return Outcome(len(data), layout.steps, evaluation, round(time.perf_counter() - began, 3), saved, place.world)


def _levels(job: Job, corpus: Corpus) -> Levels | None:
    """Return the levels that get a head each; raises where the test corpus does not have them."""
    levels = trained(corpus, job.config)
    if levels is not None:
        check(corpus, Corpus.load(job.test), job.config)
    return levels


def _headed(data: Examples, config: FineTuneConfig) -> Examples:
    """Return rows with the labels of those levels alone that get a head."""
    return data if data.levels is None else replace(data, levels=data.levels.wanted(config))


def _recorder(
    job: Job, data: Examples, layout: Plan, classes: int, rank: int
) -> Callable[[NDArray[np.int64], Tensor, int], None] | None:
    if job.folder is None or not job.config.capture:
        return None
    recorder = capture.Recorder(job.folder, data, layout, classes, rank)
    if data.levels is None:
        return recorder
    scored = data.levels.label
    return lambda rows, logits, step: recorder(rows, logits[:, scored], step)


def steps(job: Job) -> int:
    """Return how many optimiser steps a job takes."""
    rows = Corpus.load(job.train).rows if job.selection is None else Selection.load(job.selection).counts["kept"]
    return plan(rows, job.config, job.steps).steps


def finish(job: Job, outcome: Outcome) -> CheckpointSet:
    """Write the manifests and the evaluation of a job that saved checkpoints; the set's manifest comes last."""
    assert job.folder is not None
    corpus = Corpus.load(job.train)
    if job.config.capture:
        layout = plan(outcome.rows, job.config, job.steps)
        capture.seal(job.folder, outcome.rows, len(corpus.labels), layout, outcome.workers)
    storage.write_json(storage.join(job.folder, EVALUATION), outcome.plain())
    return CheckpointSet(
        checkpoints=outcome.checkpoints,
        labels=corpus.labels,
        seed=job.config.seed,
        corpus=corpus.fingerprint,
        config={"key": job.key, "base": job.base, "model": job.model.plain(), "fine_tune": job.config.plain()},
        metrics=outcome.evaluation.metrics,
    ).save(job.folder)


class Saver:
    """Writes the checkpoints of a run: plain `save_pretrained` folders, sealed with hashes, then moved into place."""

    def __init__(self, job: Job, core: nn.Module, epoch: Callable[[int], float]) -> None:
        self.job, self.core, self.epoch = job, core, epoch
        self.saved: list[Checkpoint] = []
        self.tokenizer = model.tokenizer(job.base, trust_remote_code=job.model.trust_remote_code)

    def __call__(self, step: int, rate: float) -> None:
        """Save the model as it is after `step` steps."""
        assert self.job.folder is not None
        uri = storage.join(self.job.folder, f"step-{step:06d}")
        draft = Path(tempfile.mkdtemp(prefix="raysample-checkpoint-"))
        model.save(self.core, self.tokenizer, str(draft))
        checkpoints.seal(draft)
        storage.publish(draft, uri)
        self.saved.append(Checkpoint(uri, step, self.epoch(step), rate))


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
    levels = None if corpus.levels is None else LevelLabels.read(table, corpus.levels)
    return Examples(model.encode(words, table, max_length), labels, int(words.pad_token_id), ids, levels=levels)


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
