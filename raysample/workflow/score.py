"""Score a whole corpus: find missing shards, score them, check that no row was lost, write the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from raysample.core import manifests, storage
from raysample.core.errors import ProvenanceError, ScoreError
from raysample.data.checkpoint_set import CheckpointSet, verify_checkpoint
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.data.score_table_layout import landmarks_folder, part_name
from raysample.influence.landmarks import Fitted
from raysample.influence.scores import score_plugins
from raysample.influence.shards import ScoreJob, ShardOutcome, ensure_statistics
from raysample.training import capture
from raysample.training.fine_tuning import EVALUATION
from raysample.version import __version__
from raysample.workflow import economy
from raysample.workflow.checks import check_scores
from raysample.workflow.context import RunContext
from raysample.workflow.missing_shards import ShardWork, find_missing_shards, prepare_missing_shards
from raysample.workflow.plugins import check_plugins
from raysample.workflow.score_identity import (
    SCORE_NUMERICS,
    VALUE_NEUTRAL,
    ScoringPlan,
    checkpoints_fingerprint,
    tell_changes,
)
from raysample.workflow.score_request import ScoreRequest
from raysample.workflow.spot_check import verified


def score_corpus(request: ScoreRequest, corpus: Corpus, context: RunContext) -> ScoreTable:
    """Score every row of a corpus and return the complete table; finished shards are reused.

    With several runs each score is the mean over the runs. Progress metrics are tracked.

    Raises:
        ProvenanceError: the checkpoints have other classes than the corpus.
        ScoreError: a score or option is unknown, rows were lost, or the spot check, which scores a few rows again with
            the slow reference implementation, found other values.
        CheckpointError: the checkpoints do not suit a score, or one is damaged.
    """
    check_scores(request.config)
    check_plugins(score_plugins(request.config.scores), context.executor)
    _check_origin(request.checkpoint_sets, corpus)
    request = _with_economy(request, corpus, context)
    if request.config.source == "capture":
        for checkpoint_set in request.checkpoint_sets:
            capture.Capture.load(checkpoint_set.uri).verify()
    targets = request.describe_targets(corpus.labels)
    plan = ScoringPlan.from_request(request, corpus.fingerprint, targets, corpus.grouped)
    tell_changes(plan, request.folder, context.reporter)
    job = request.job(corpus, plan.parts)
    work = find_missing_shards(job, corpus, context)
    outcomes = list(work.finished)
    if work.missing:
        work = prepare_missing_shards(work, context)
        shards = [shard.index for shard in work.missing]
        with work.progress(context) as progress:
            for outcome in context.executor.score(work.job, shards, request.config.workers, context.reporter):
                progress.add(outcome)
        outcomes = progress.outcomes
    table = _table(request, plan, work, sorted(outcomes, key=lambda outcome: outcome.shard))
    ensure_statistics(table, context.executor.map)
    return verified(table, job, context).save()


def _table(request: ScoreRequest, plan: ScoringPlan, work: ShardWork, outcomes: Sequence[ShardOutcome]) -> ScoreTable:
    """Return the table of the scored shards, after checking that no row is lost and some row has scores."""
    corpus, job = work.corpus, work.job
    counts = {
        "in": corpus.rows,
        "scored": sum(outcome.scored for outcome in outcomes),
        "quarantined": sum(outcome.quarantined for outcome in outcomes),
    }
    if counts["in"] != counts["scored"] + counts["quarantined"]:
        raise ScoreError(
            f"rows were lost: {counts['in']:,} were to be scored, {counts['scored']:,} were, and"
            f" {counts['quarantined']:,} are in quarantine",
            f"please report this; delete {job.folder!r} and score again",
        )
    if counts["scored"] == 0 and request.config.max_quarantined < 1:
        raise ScoreError(
            f"not one of {counts['in']} rows has finite scores",
            f"see the quarantine files in {job.folder!r}; score in float32",
        )
    return ScoreTable(
        request.folder,
        tuple(f"{plan.parts}/{part_name(corpus.shards[outcome.shard])}" for outcome in outcomes),
        plan.definitions,
        corpus.labels,
        corpus.fingerprint,
        checkpoints_fingerprint(request.checkpoint_sets),
        counts,
        {**made_by(plan, request), **_fitted_by(request, job), "label_origin": corpus.origin},
        _cost(request.checkpoint_sets, outcomes, work.cost),
        corpus.grouped,
    )


def _with_economy(request: ScoreRequest, corpus: Corpus, context: RunContext) -> ScoreRequest:
    """Return the request with `score.economy` applied; a sample of rows is scored if no choice is stored."""
    config = request.config
    if config.economy is None:
        return request
    choice = economy.stored_choice(request, corpus)
    if choice is None and not economy.open_columns(config):
        choice = {}  # every score has a window of its own
        economy.store_choice(choice, request, corpus)
    if choice is None:
        visits = min(len(checkpoint_set.checkpoints) for checkpoint_set in request.checkpoint_sets)
        place = storage.join(request.folder, economy.PLACE)
        rows = economy.sampled(corpus, config.economy.rows, storage.join(place, "rows"))
        trial = ScoreRequest(request.checkpoint_sets[:1], economy.trial(config, visits), request.model, place)
        sample = score_corpus(trial, rows, context.silent())
        choice = economy.choose_windows(config, sample.to_pandas(), visits, config.economy.min_correlation)
        economy.store_choice(choice, request, corpus)
    context.reporter.say(economy.describe_choice(choice, min(config.economy.rows, corpus.rows)))
    return replace(request, config=economy.economy_config(config, choice))


def made_by(plan: ScoringPlan, request: ScoreRequest) -> dict[str, Any]:
    """Return the provenance of a table: enough to compute it again."""
    return {
        "key": plan.key,
        "sources": plan.sources,
        "precision": request.config.precision,
        "score": request.config.model_copy(update=VALUE_NEUTRAL).to_dict(),
        "model": request.model.to_dict(),
        "runs": len(request.checkpoint_sets),
        "raysample": __version__,
        "numerics": SCORE_NUMERICS,
    }


def _fitted_by(request: ScoreRequest, job: ScoreJob) -> dict[str, Any]:
    """Return the choices and fits made on some of the rows, and their quality."""
    result: dict[str, Any] = {}
    if request.config.economy is not None:
        choice = storage.join(request.folder, economy.CHOICE)
        result["economy"] = manifests.mapping(choice, "columns")["columns"]
    if request.config.landmarks is not None:
        result["landmarks"] = Fitted.load(landmarks_folder(job.folder)).quality
    return result


def _check_origin(checkpoint_sets: Sequence[CheckpointSet], corpus: Corpus) -> None:
    """Raise an error if checkpoints have other classes than the corpus, or damaged files."""
    for checkpoint_set in checkpoint_sets:
        if checkpoint_set.labels != corpus.labels:
            raise ProvenanceError(
                f"the checkpoints know {len(checkpoint_set.labels)} classes, the corpus has {len(corpus.labels)} or "
                f"others: {_named(checkpoint_set.labels)}; and {_named(corpus.labels)}",
                "describe the corpus with the labels of the checkpoints",
            )
        # Checked in the driver: the error of an actor that fails at start would be unreadable.
        for checkpoint in checkpoint_set.checkpoints:
            if storage.is_local(checkpoint.uri):
                verify_checkpoint(checkpoint.uri, checkpoint.files)
        if checkpoint_set.tokenizer != checkpoint_set.checkpoints[0].uri and storage.is_local(checkpoint_set.tokenizer):
            verify_checkpoint(checkpoint_set.tokenizer)


def _named(labels: Sequence[str]) -> str:
    """Return the first class names as text."""
    return ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")


def _cost(
    checkpoint_sets: Sequence[CheckpointSet], outcomes: Sequence[ShardOutcome], beside: Mapping[str, float]
) -> dict[str, float]:
    """Return the worker-seconds of scoring, and their ratio to a fine-tuning run if known."""
    seconds = sum(outcome.seconds for outcome in outcomes)
    cost = {"score_seconds": round(seconds, 3), **beside}
    evaluations = [storage.join(checkpoint_set.uri, EVALUATION) for checkpoint_set in checkpoint_sets]
    if all(storage.exists(uri) for uri in evaluations):
        training = sum(float(manifests.mapping(uri, "seconds")["seconds"]) for uri in evaluations) / len(evaluations)
        cost |= {
            "training_seconds": training,
            "share_of_training": round((seconds + beside["prepare_seconds"]) / training, 4),
        }
    return cost
