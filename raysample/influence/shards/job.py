"""The order for a scoring actor, its outcome, and the paths of the parts of a score table.

The name of a part comes from the content of its shard's rows, its folder from everything else that the numbers depend
on, and a part is renamed into place when complete. So a rerun finds finished parts even if files were added to the
corpus, and two drivers that score the same table cannot damage each other's parts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from raysample.core import storage
from raysample.core.config import ModelConfig, ScoreConfig
from raysample.core.registry import PluginIdentity
from raysample.data.corpus import Shard
from raysample.data.score_table_layout import part_uri
from raysample.influence.references import Request


@dataclass(frozen=True)
class ScoreJob:
    """The order for a scoring actor; picklable and small.

    Attributes:
        corpus: URI of the scored Corpus.
        checkpoint_sets: URIs of the CheckpointSets, one per run; scores are averaged over them.
        config: scores, precision, batch budget.
        model: as in fine-tuning; tokenising, `freeze` and `trust_remote_code` matter for scoring.
        folder: URI of the folder for `part-*.parquet`, their statistics, and `quarantine-*.parquet`.
        references: URI of the folder for prepared references.
        targets: name -> URI of the Corpus that target-aware scores point to.
        max_resident_models: models that an actor keeps in memory at a time; None for all. Changes no number.
        plugins: the classes of plug-in scores, which `config` names by their paths; a worker that has others refuses.
    """

    corpus: str
    checkpoint_sets: tuple[str, ...]
    config: ScoreConfig
    model: ModelConfig
    folder: str
    references: str
    targets: dict[str, str] = field(default_factory=dict)
    max_resident_models: int | None = None
    plugins: tuple[PluginIdentity, ...] = ()


@dataclass(frozen=True)
class ShardOutcome:
    """The outcome of one shard: rows = scored + quarantined.

    `seconds` are the seconds of work, also of an earlier run; `crashes` the workers that died over it in this run.
    """

    shard: int
    rows: int
    scored: int
    quarantined: int
    seconds: float
    crashes: int = 0


def request(job: ScoreJob, trace: str) -> Request:
    """Return the request for the references of one run."""
    return Request(
        corpus=job.corpus,
        checkpoints=trace,
        targets=dict(job.targets),
        model=job.model,
        batch_tokens=job.config.budget,
        precision=job.config.precision,
        folder=job.references,
    )


def finished(folder: str, shard: Shard) -> ShardOutcome | None:
    """Return the outcome of a shard that an earlier run finished, or None."""
    uri = part_uri(folder, shard)
    if not storage.exists(uri):
        return None
    metadata = storage.read_parquet(uri, ["label"]).schema.metadata
    rows, bad = int(metadata[b"rows"]), int(metadata[b"bad"])
    return ShardOutcome(shard.index, rows, rows - bad, bad, float(metadata[b"seconds"]))
