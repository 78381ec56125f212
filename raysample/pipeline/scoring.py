"""Scoring a whole corpus: which shards are missing, score those, check that no row was lost, write the manifest."""

from __future__ import annotations

from raysample import storage
from raysample.checkpoints import CheckpointSet
from raysample.config import ScoreConfig
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


def score_corpus(
    trace: CheckpointSet,
    corpus: Corpus,
    config: ScoreConfig,
    max_length: int,
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
    scores = create_all(config.scores)
    definitions = {
        column: {"score": score.name, "higher_is": score.higher_is, **score.options(trace.checkpoints)}
        for column, score in scores.items()
    }
    key = storage.fingerprint(
        [
            corpus.fingerprint,
            trace.fingerprint,
            definitions,
            config.precision,
            config.batch_tokens,
            max_length,
            NUMERICS,
        ]
    )
    parts = f"parts-{key[:12]}"
    job = ScoreJob(
        corpus.uri,
        trace.uri,
        config,
        max_length,
        storage.join(folder, parts),
    )
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
    made_by = {"key": key, "precision": config.precision, "raysample": __version__, "numerics": NUMERICS}
    return ScoreTable(
        folder, names, definitions, corpus.labels, corpus.fingerprint, trace.fingerprint, counts, made_by
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
