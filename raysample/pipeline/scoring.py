"""Scoring a whole corpus: which shards are missing, score those, check that no row was lost, write the manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raysample import checkpoints, storage
from raysample.checkpoints import CheckpointSet
from raysample.config import ModelConfig, ScoreConfig
from raysample.corpus import Corpus
from raysample.engine import Engine
from raysample.errors import ProvenanceError, ScoreError
from raysample.progress import Reporter
from raysample.scores import create_all
from raysample.scoring import ScoreJob, ShardOutcome, finished
from raysample.table import ScoreTable
from raysample.version import __version__

# Raised when a change of the numerics makes earlier parts wrong: they are then scored again.
NUMERICS = 1


@dataclass(frozen=True)
class Plan:
    """What a table will hold and, as `key`, the identity of everything that its numbers depend on."""

    definitions: dict[str, dict[str, Any]]
    key: str

    @staticmethod
    def of(trace: CheckpointSet, corpus: Corpus, config: ScoreConfig, model: ModelConfig) -> Plan:
        """Resolve the scores at these checkpoints; raises ScoreError or CheckpointError where they cannot be had."""
        definitions = {
            column: {"score": score.name, "higher_is": score.higher_is, **score.options(trace.checkpoints)}
            for column, score in create_all(config.scores).items()
        }
        how = [config.precision, config.batch_tokens, model.max_length, NUMERICS]
        return Plan(definitions, storage.fingerprint([corpus.fingerprint, trace.fingerprint, definitions, *how]))


def score_corpus(
    trace: CheckpointSet,
    corpus: Corpus,
    config: ScoreConfig,
    model: ModelConfig,
    folder: str,
    engine: Engine,
    reporter: Reporter,
) -> ScoreTable:
    """Score every row of a corpus at the checkpoints of a run and return the complete table in `folder`.

    Raises:
        ProvenanceError: the checkpoints' classes are not the corpus's.
        ScoreError: an unknown score or option, or rows were lost on the way.
        CheckpointError: the checkpoints do not suit a score, or one is damaged.
    """
    if trace.labels != corpus.labels:
        raise ProvenanceError(
            f"the checkpoints know {len(trace.labels)} classes, the corpus has {len(corpus.labels)} or others",
            "describe the corpus with the labels of the checkpoints",
        )
    plan = Plan.of(trace, corpus, config, model)
    for checkpoint in trace.checkpoints:
        # Told here in plain words; an actor that dies of it while it starts could not say as much.
        if storage.is_local(checkpoint.uri):
            checkpoints.verify(checkpoint.uri)
    parts = f"parts-{plan.key[:12]}"
    job = ScoreJob(corpus.uri, trace.uri, config, model, storage.join(folder, parts))
    outcomes = _score(job, corpus, config, engine, reporter)
    counts = {
        "in": corpus.rows,
        "scored": sum(outcome.scored for outcome in outcomes),
        "quarantined": sum(outcome.quarantined for outcome in outcomes),
    }
    if counts["scored"] == 0:
        raise ScoreError(
            f"not one of {counts['in']} rows has finite scores",
            f"see the quarantine files in {job.folder!r}; score in float32",
        )
    names = tuple(f"{parts}/part-{outcome.shard:05d}.parquet" for outcome in sorted(outcomes, key=lambda o: o.shard))
    made_by = {"key": plan.key, "precision": config.precision, "raysample": __version__, "numerics": NUMERICS}
    return ScoreTable(
        folder, names, plan.definitions, corpus.labels, corpus.fingerprint, trace.fingerprint, counts, made_by
    ).save()


def _score(
    job: ScoreJob, corpus: Corpus, config: ScoreConfig, engine: Engine, reporter: Reporter
) -> list[ShardOutcome]:
    outcomes = [done for shard in corpus.shards if (done := finished(job.folder, shard.index)) is not None]
    there = {outcome.shard for outcome in outcomes}
    missing = [shard.index for shard in corpus.shards if shard.index not in there]
    if there:
        reporter.say(f"  {len(there)} of {len(corpus.shards)} shards were finished before, {len(missing)} to do")
    if missing:
        outcomes += list(engine.score(job, missing, config.workers, reporter))
    return outcomes
