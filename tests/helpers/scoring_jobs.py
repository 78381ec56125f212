"""A small corpus and two made-up runs, with what their scores need prepared; no Ray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raysample.core.config import ModelConfig, ScoreConfig
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.influence.shards import ScoreJob, ShardOutcome, ShardScorer, prepare_scoring
from raysample.testing import LABELS, tiny_checkpoints
from raysample.workflow import ScoreRequest
from tests.helpers import every_score
from tests.helpers.corpora import tiny_corpus

MODEL = ModelConfig(max_length=16)


def corpus_in(folder: Path, rows: int, seed: int = 0) -> Corpus:
    """Write and describe a small corpus in shards of 16 rows."""
    return tiny_corpus(folder, rows, seed, shard_rows=16)


def every_job(folder: Path, rows: int = 60, runs: int = 2) -> ScoreJob:
    """Return a job of every score, averaged over some runs of three checkpoints, and prepare it."""
    corpus, target = corpus_in(folder / "train", rows), corpus_in(folder / "target", 20, seed=7)
    checkpoint_sets = [tiny_checkpoints(folder / f"run-{seed}", 3, seed=seed) for seed in range(runs)]
    # A run that was made up has no recipe, which pvi's null model would be trained with.
    specs = [{"name": "pvi", "null": "prior"} if spec == "pvi" else spec for spec in every_score.specs()]
    config = ScoreConfig(scores=specs, targets={every_score.TARGET: target.source}, batch_tokens=64)
    request = ScoreRequest(checkpoint_sets, config, MODEL, str(folder))
    request.describe_targets(LABELS)
    job = request.job(corpus, "parts")
    prepare_scoring(job, lambda _: None)
    return job


def plain_job(folder: Path, rows: int = 60, scores: tuple[str, ...] = ("vog", "el2n")) -> ScoreJob:
    """Return a job of scores that need nothing from elsewhere, on one run of three checkpoints."""
    corpus, trace = corpus_in(folder / "train", rows), tiny_checkpoints(folder / "run", 3)
    config = ScoreConfig(scores=list(scores), batch_tokens=64)
    return ScoreRequest([trace], config, MODEL, str(folder)).job(corpus, "parts")


def elsewhere(job: ScoreJob, folder: Path) -> ScoreJob:
    """Return the same job with another folder for its parts."""
    return replace(job, folder=str(folder))


def parts_of(job: ScoreJob) -> dict[str, pa.Table]:
    """Return the parts that were written, by name, without the seconds that they took."""
    files = sorted(Path(job.folder).glob("part-*.parquet"))
    return {path.name: pq.read_table(path).replace_schema_metadata(None) for path in files}


def one_by_one(job: ScoreJob) -> list[ShardOutcome]:
    """Score all shards in this thread alone, one after the other."""
    scorer = ShardScorer(job)
    return [scorer.score(shard.index) for shard in scorer.corpus.shards]


def checkpoints_of(job: ScoreJob) -> list[CheckpointSet]:
    """Return the runs of a job."""
    return [CheckpointSet.load(uri) for uri in job.checkpoint_sets]
