"""What a scoring actor is told, what it answers, and where the parts of a table lie.

A part's name comes from the content of its shard's rows, its folder from everything else that its numbers depend on,
and it is renamed into place when whole. A rerun therefore finds what is done, also when files were added, and two
drivers at work on one table do no harm.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from raysample.core import storage
from raysample.core.config import ModelConfig, ScoreConfig
from raysample.data.corpus import Shard
from raysample.influence.references import Request


@dataclass(frozen=True)
class ScoreJob:
    """What a scoring actor needs to know; picklable and small.

    Attributes:
        corpus: URI of the scored Corpus.
        traces: URIs of the CheckpointSets, one per run; scores are averaged over them.
        config: which scores, precision, batch budget.
        model: as in fine-tuning; how it tokenises, `freeze` and `trust_remote_code` matter here.
        folder: URI below which `part-*.parquet`, their statistics, and `quarantine-*.parquet` are written.
        references: URI below which lies what the scores need from elsewhere.
        targets: name -> URI of the Corpus that target-aware scores point to.
        max_resident_models: models that an actor keeps in memory at a time; None for all. Changes no number.
    """

    corpus: str
    traces: tuple[str, ...]
    config: ScoreConfig
    model: ModelConfig
    folder: str
    references: str
    targets: dict[str, str] = field(default_factory=dict)
    max_resident_models: int | None = None


@dataclass(frozen=True)
class ShardOutcome:
    """What became of one shard: rows in = scored + quarantined; `seconds` of work, also if it was done earlier.

    `crashes`: workers that died of it before, in this run.
    """

    shard: int
    rows: int
    scored: int
    quarantined: int
    seconds: float
    crashes: int = 0


def request(job: ScoreJob, trace: str) -> Request:
    """Return what the references of one run are made from."""
    return Request(
        corpus=job.corpus,
        checkpoints=trace,
        targets=dict(job.targets),
        model=job.model,
        batch_tokens=job.config.budget,
        precision=job.config.precision,
        folder=job.references,
    )


def landmarks_folder(job: ScoreJob) -> str:
    """Return the folder of the regression that landmark scores are predicted with."""
    return storage.join(job.folder, "landmarks")


def part_uri(folder: str, shard: Shard) -> str:
    """Return the URI of a shard's part."""
    return storage.join(folder, part_name(shard))


def part_name(shard: Shard) -> str:
    """Return what a shard's part is called."""
    return f"part-{shard.name}.parquet"


def quarantine_uri(folder: str, shard: Shard) -> str:
    """Return the URI of a shard's quarantine file (there only if the shard had bad rows)."""
    return quarantine_of(part_uri(folder, shard))


def statistics(folder: str, shard: Shard) -> str:
    """Return the URI of the statistics of a shard's part, where who reads the folder as a data set looks past them."""
    return statistics_of(part_uri(folder, shard))


def statistics_of(part_uri: str) -> str:
    """Return where the statistics of a part lie; takes URIs, and names in a table."""
    folder, _, name = part_uri.rpartition("/")
    return storage.join(folder, "_statistics", name)


def quarantine_of(part_uri: str) -> str:
    """Return where the rows lie that a part set aside; takes URIs, and names in a table."""
    folder, _, name = part_uri.rpartition("/")
    return storage.join(folder, name.replace("part-", "quarantine-", 1))


def finished(folder: str, shard: Shard) -> ShardOutcome | None:
    """Return the outcome of a shard that an earlier run finished, or None."""
    uri = part_uri(folder, shard)
    if not storage.exists(uri):
        return None
    told = storage.read_parquet(uri, ["label"]).schema.metadata
    rows, bad = int(told[b"rows"]), int(told[b"bad"])
    return ShardOutcome(shard.index, rows, rows - bad, bad, float(told[b"seconds"]))
