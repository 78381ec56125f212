"""Scoring one shard: read, tokenise, sweep over the checkpoints, write one part. The same in this process and on Ray.

A part's name comes from its shard's place, its folder from everything that its numbers depend on, and it is renamed
into place when whole. A rerun therefore finds what is done, and two drivers at work on one table do no harm.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from raysample import checkpoints, model, storage, table
from raysample.checkpoints import CheckpointSet
from raysample.config import ModelConfig, ScoreConfig
from raysample.corpus import QUARANTINE, Corpus
from raysample.numerics.precision import device, resolve
from raysample.scores import create_all
from raysample.sweep import score_block


@dataclass(frozen=True)
class ScoreJob:
    """What a scoring actor needs to know; picklable and small.

    Attributes:
        corpus, checkpoints: URIs of the two nouns.
        config: which scores, precision, batch budget.
        model: as in fine-tuning; its `max_length` and `trust_remote_code` matter here.
        folder: URI below which `part-*.parquet` and `quarantine-*.parquet` are written.
    """

    corpus: str
    checkpoints: str
    config: ScoreConfig
    model: ModelConfig
    folder: str


@dataclass(frozen=True)
class ShardOutcome:
    """What became of one shard: rows in = scored + quarantined."""

    shard: int
    rows: int
    scored: int
    quarantined: int
    seconds: float


class ShardScorer:
    """Holds the checkpoints of one CheckpointSet in memory and scores shards with them; made once per actor."""

    def __init__(self, job: ScoreJob) -> None:
        self.job = job
        # Asked here, not by the driver, whose machine may have no GPU; Ray hides those that were not asked for.
        self.device = device()
        self.corpus = Corpus.load(job.corpus)
        self.trace = CheckpointSet.load(job.checkpoints)
        folders = [storage.localise(checkpoint.uri) for checkpoint in self.trace.checkpoints]
        for folder in folders:
            checkpoints.verify(folder)
        trust = job.model.trust_remote_code
        self.models = [model.load(folder, trust_remote_code=trust).to(self.device) for folder in folders]
        self.tokenizer = model.tokenizer(folders[0], trust_remote_code=trust)
        self.scores = create_all(job.config.scores)

    def score(self, shard: int) -> ShardOutcome:
        """Score one shard and write its part, unless it is there already."""
        began = time.perf_counter()
        done = finished(self.job.folder, shard)
        if done is not None:
            return done
        rows = self.corpus.read(shard)
        encoded = model.encode(self.tokenizer, rows, self.job.model.max_length)
        columns = self._columns(encoded, rows["label"].to_numpy().astype(np.int64))
        scored = table.schema(tuple(self.scores))
        base = {"row_id": rows["row_id"], "label": rows["label"], "tokens": pa.array(encoded.lengths, pa.int32())}
        full = pa.table({**base, **{name: pa.array(values) for name, values in columns.items()}}).cast(scored)
        finite = np.all([np.isfinite(values) for values in columns.values()], axis=0)
        self._write(shard, full, finite, columns)
        kept = int(finite.sum())
        return ShardOutcome(shard, len(rows), kept, len(rows) - kept, time.perf_counter() - began)

    def _columns(self, encoded: model.Encoded, labels: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, Any]:
        def pad(rows: Any) -> dict[str, Tensor]:
            return model.pad(encoded, rows, int(self.tokenizer.pad_token_id))

        return score_block(
            self.models,
            self.trace.checkpoints,
            encoded,
            labels,
            self.scores,
            pad=pad,
            batch_tokens=self.job.config.batch_tokens,
            device=self.device,
            autocast=resolve(self.job.config.precision, self.models[0], self.device),
        )

    def _write(self, shard: int, full: pa.Table, finite: Any, columns: dict[str, Any]) -> None:
        """Write the quarantine file before the part: a part that is there is whole, and so is what belongs to it."""
        bad = np.flatnonzero(~finite)
        if len(bad):
            source = self.corpus.shards[shard]
            reasons = [
                f"not finite: {', '.join(name for name, values in columns.items() if not np.isfinite(values[row]))}"
                for row in bad
            ]
            ids = full["row_id"].take(pa.array(bad))
            lost = pa.table(
                [[source.uri] * len(bad), [None] * len(bad), ids, ["score"] * len(bad), reasons], schema=QUARANTINE
            )
            storage.write_parquet(quarantine(self.job.folder, shard), lost)
        good = full.filter(pa.array(finite)).replace_schema_metadata({"rows": str(len(full)), "bad": str(len(bad))})
        storage.write_parquet(part(self.job.folder, shard), good)


def part(folder: str, shard: int) -> str:
    """Return the URI of a shard's part."""
    return storage.join(folder, f"part-{shard:05d}.parquet")


def quarantine(folder: str, shard: int) -> str:
    """Return the URI of a shard's quarantine file (there only if the shard had bad rows)."""
    return storage.join(folder, f"quarantine-{shard:05d}.parquet")


def finished(folder: str, shard: int) -> ShardOutcome | None:
    """Return the outcome of a shard that an earlier run finished, or None."""
    uri = part(folder, shard)
    if not storage.exists(uri):
        return None
    told = storage.read_parquet(uri, ["label"]).schema.metadata
    rows, bad = int(told[b"rows"]), int(told[b"bad"])
    return ShardOutcome(shard, rows, rows - bad, bad, 0.0)
