"""Scoring a whole corpus: which shards are missing, score those, check that no row was lost, write the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raysample.core import manifests, storage
from raysample.core.config import ModelConfig, ScoreConfig
from raysample.core.errors import ProvenanceError, ScoreError
from raysample.core.progress import Reporter, SilentReporter
from raysample.data import checkpoint_set
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus, describe_source
from raysample.data.score_table import ScoreTable
from raysample.execution.base import Executor
from raysample.influence.landmarks import Fitted
from raysample.influence.scores import resolve_specs, score_plugins
from raysample.influence.shards import ScoreJob, ShardOutcome, ensure_statistics, landmarks_folder, part_name
from raysample.tracking import NullTracker, Tracker
from raysample.training import capture
from raysample.training.fine_tuning import EVALUATION
from raysample.version import __version__
from raysample.workflow import economy
from raysample.workflow.checks import check_scores
from raysample.workflow.missing_shards import score_missing_shards
from raysample.workflow.plugins import check_plugins
from raysample.workflow.score_identity import NUMERICS, ScoringPlan, checkpoints_fingerprint, tell_changes
from raysample.workflow.spot_check import verified

_INDIFFERENT = {"workers": None, "max_quarantined": 1.0, "memory": "auto", "verify_rows": 16}


def describe_targets(config: ScoreConfig, labels: Sequence[str], folder: str) -> dict[str, Corpus]:
    """Describe the corpora that target-aware scores point to, with the labels of the checkpoints, below `folder`."""
    return {
        name: describe_source(source.label_alone, target_folder(folder, name), labels=labels)
        for name, source in config.targets.items()
    }


def described_targets(config: ScoreConfig, folder: str) -> dict[str, Corpus]:
    """Load what `describe_targets` described; raises StorageError where it did not."""
    return {name: Corpus.load(target_folder(folder, name)) for name in config.targets}


def score_corpus(
    traces: Sequence[CheckpointSet],
    corpus: Corpus,
    config: ScoreConfig,
    model: ModelConfig,
    folder: str,
    engine: Executor,
    reporter: Reporter,
    tracker: Tracker | None = None,
) -> ScoreTable:
    """Score every row of a corpus at the checkpoints of one or more runs and return the complete table in `folder`.

    With several runs each score is the mean of what the runs give. The tracker gets metrics of how far it is.

    Raises:
        ProvenanceError: the checkpoints' classes are not the corpus's.
        ScoreError: an unknown score or option, rows were lost on the way, or a few rows came to other values when they
            were scored again by the slow twin.
        CheckpointError: the checkpoints do not suit a score, or one is damaged.
    """
    check_scores(config)
    check_plugins(score_plugins(config.scores), engine)
    _check(traces, corpus)
    config = economised(traces, corpus, config, model, folder, engine, reporter)
    if config.source == "capture":
        for trace in traces:
            capture.Capture.load(trace.uri).verify()
    targets = describe_targets(config, corpus.labels, folder)
    plan = ScoringPlan.of(traces, corpus.fingerprint, config, model, targets, corpus.grouped)
    tell_changes(plan, folder, reporter)
    job = job_of(traces, corpus, config, model, folder, plan.parts)
    outcomes, cost = score_missing_shards(job, corpus, engine, reporter, tracker or NullTracker())
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
    if counts["scored"] == 0 and config.max_quarantined < 1:
        raise ScoreError(
            f"not one of {counts['in']} rows has finite scores",
            f"see the quarantine files in {job.folder!r}; score in float32",
        )
    names = tuple(
        f"{plan.parts}/{part_name(corpus.shards[outcome.shard])}" for outcome in sorted(outcomes, key=lambda o: o.shard)
    )
    table = ScoreTable(
        folder,
        names,
        plan.definitions,
        corpus.labels,
        corpus.fingerprint,
        checkpoints_fingerprint(traces),
        counts,
        {
            **made_by(plan, config, model, len(traces)),
            **_fitted_by(job, config, folder),
            "label_origin": corpus.origin,
        },
        _cost(traces, outcomes, cost),
        corpus.grouped,
    )
    ensure_statistics(table, engine.map)
    return verified(table, job, engine, reporter).save()


def economised(
    traces: Sequence[CheckpointSet],
    corpus: Corpus,
    config: ScoreConfig,
    model: ModelConfig,
    folder: str,
    engine: Executor,
    reporter: Reporter,
) -> ScoreConfig:
    """Return the configuration that `score.economy` comes to; a sample of rows is scored if nothing was chosen yet."""
    if config.economy is None:
        return config
    choice = economy.stored_choice(config, traces, corpus, folder)
    if choice is None and not economy.open_columns(config):
        choice = {}  # every score looks at checkpoints of its own: there is nothing to choose
        economy.store_choice(choice, config, traces, corpus, folder)
    if choice is None:
        visits = min(len(trace.checkpoints) for trace in traces)
        place = storage.join(folder, economy.PLACE)
        rows = economy.sampled(corpus, config.economy.rows, storage.join(place, "rows"))
        sample = score_corpus(traces[:1], rows, economy.trial(config, visits), model, place, engine, SilentReporter())
        choice = economy.choose_windows(config, sample.to_pandas(), visits, config.economy.min_correlation)
        economy.store_choice(choice, config, traces, corpus, folder)
    reporter.say(economy.describe_choice(choice, min(config.economy.rows, corpus.rows)))
    return economy.economy_config(config, choice)


def made_by(plan: ScoringPlan, config: ScoreConfig, model: ModelConfig, runs: int) -> dict[str, Any]:
    """Return how a table came about: enough to compute it again."""
    return {
        "key": plan.key,
        "sources": plan.sources,
        "precision": config.precision,
        # How many share the work, in how much memory, how many bad rows are borne and how many are verified, changes no
        # number.
        "score": config.model_copy(update=_INDIFFERENT).to_dict(),
        "model": model.to_dict(),
        "runs": runs,
        "raysample": __version__,
        "numerics": NUMERICS,
    }


def _fitted_by(job: ScoreJob, config: ScoreConfig, folder: str) -> dict[str, Any]:
    """Return what was chosen or fitted on some of the rows, and how well that predicts."""
    found: dict[str, Any] = {}
    if config.economy is not None:
        found["economy"] = manifests.mapping(storage.join(folder, economy.CHOICE), "columns")["columns"]
    if config.landmarks is not None:
        found["landmarks"] = Fitted.load(landmarks_folder(job)).quality
    return found


def job_of(
    traces: Sequence[CheckpointSet], corpus: Corpus, config: ScoreConfig, model: ModelConfig, folder: str, parts: str
) -> ScoreJob:
    """Return what actors are told about a table in `folder`, whose parts lie in its subfolder `parts`."""
    plugins = score_plugins(config.scores)
    return ScoreJob(
        corpus=corpus.uri,
        traces=tuple(trace.uri for trace in traces),
        config=config if not plugins else config.model_copy(update={"scores": resolve_specs(config.scores)}),
        # Alone means unpadded.
        model=model.model_copy(update={"pad_to_multiple_of": 1}) if config.method == "loop" else model,
        folder=storage.join(folder, parts),
        references=storage.join(folder, "references"),
        targets={name: target_folder(folder, name) for name in config.targets},
        plugins=plugins,
    )


def target_folder(folder: str, name: str) -> str:
    """Return where a target's Corpus is described, below the folder of the table."""
    return storage.join(folder, "targets", name)


def _check(traces: Sequence[CheckpointSet], corpus: Corpus) -> None:
    for trace in traces:
        if trace.labels != corpus.labels:
            raise ProvenanceError(
                f"the checkpoints know {len(trace.labels)} classes, the corpus has {len(corpus.labels)} or others: "
                f"{_named(trace.labels)}; and {_named(corpus.labels)}",
                "describe the corpus with the labels of the checkpoints",
            )
        # Told here in plain words; an actor that dies of it while it starts could not say as much.
        for checkpoint in trace.checkpoints:
            if storage.is_local(checkpoint.uri):
                checkpoint_set.verify_checkpoint(checkpoint.uri, checkpoint.files)
        if trace.tokenizer != trace.checkpoints[0].uri and storage.is_local(trace.tokenizer):
            checkpoint_set.verify_checkpoint(trace.tokenizer)


def _named(labels: Sequence[str]) -> str:
    return ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")


def _cost(
    traces: Sequence[CheckpointSet], outcomes: Sequence[ShardOutcome], beside: Mapping[str, float]
) -> dict[str, float]:
    """Return worker-seconds of the scoring, and their share of those of the runs' fine-tuning where these are known."""
    seconds = sum(outcome.seconds for outcome in outcomes)
    cost = {"score_seconds": round(seconds, 3), **beside}
    told = [storage.join(trace.uri, EVALUATION) for trace in traces]
    if all(storage.exists(uri) for uri in told):
        training = sum(float(manifests.mapping(uri, "seconds")["seconds"]) for uri in told) / len(told)
        cost |= {
            "training_seconds": training,
            "share_of_training": round((seconds + beside["prepare_seconds"]) / training, 4),
        }
    return cost
