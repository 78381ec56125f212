"""The results of a finished job: manifests and evaluation; its states are deleted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from raysample.core import manifests, storage
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.evaluation import Predictions, model_doubts
from raysample.training import capture, schedule_training
from raysample.training.fine_tuning.job import Job, Outcome
from raysample.training.states import STATES_FOLDER

EVALUATION = "evaluation.json"
TRAINING_CURVE_FILE = "curve.parquet"
PREDICTIONS_FILE = "predictions.parquet"


def finish_job(job: Job, outcome: Outcome) -> CheckpointSet:
    """Write the manifests and the evaluation of a job that saved checkpoints, then delete its states.

    The manifest of the CheckpointSet is written last: it marks the job as finished.
    """
    assert job.folder is not None
    corpus = Corpus.load(job.train)
    if job.config.capture:
        layout = schedule_training(outcome.rows, job.config, job.steps)
        capture.seal_capture(job.folder, outcome.rows, len(corpus.labels), layout)
    if outcome.evaluation.predictions is not None:
        storage.write_parquet(storage.join(job.folder, PREDICTIONS_FILE), outcome.evaluation.predictions.table())
    storage.write_json(storage.join(job.folder, EVALUATION), outcome.to_dict())
    checkpoint_set = CheckpointSet(
        checkpoints=outcome.checkpoints,
        labels=corpus.labels,
        seed=job.config.seed,
        corpus=corpus.fingerprint,
        config={"key": job.key, "base": job.base, "model": job.model.to_dict(), "fine_tune": job.config.to_dict()},
        metrics=outcome.before_test.metrics,
        warnings=doubts_of(outcome, corpus.labels),
    ).save(job.folder)
    storage.remove(storage.join(job.folder, STATES_FOLDER))
    return checkpoint_set


def doubts_of(outcome: Outcome, labels: Sequence[str]) -> tuple[str, ...]:
    """Return a warning if the model learnt nothing, by the validation rows if there are any.

    None if the predictions were not kept.
    """
    found = outcome.before_test
    if found.predictions is None:
        return ()
    loss, corpus = found.metrics.get("nll", math.nan), "test" if outcome.validation is None else "validation"
    return tuple(model_doubts("the model", [found.predictions], loss, labels, corpus))


def read_outcome(uri: str, predictions: str) -> Outcome:
    """Read an outcome from `uri`, with the predictions at the URI `predictions` if that file exists."""
    data = manifests.mapping(uri)
    with manifests.damaged(uri):
        outcome = Outcome.from_dict(data)
    if not storage.exists(predictions):
        return outcome
    stored = storage.read_parquet(predictions)
    with manifests.damaged(predictions):
        found = Predictions.from_table(stored)
    return replace(outcome, evaluation=replace(outcome.evaluation, predictions=found))


def outcome_of(folder: str) -> Outcome:
    """Read the outcome beside the checkpoints of a run; raises StorageError if missing or damaged."""
    return read_outcome(storage.join(folder, EVALUATION), storage.join(folder, PREDICTIONS_FILE))
