"""Scoring one shard: read, tokenise, visit the checkpoints of every run, write one part."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raysample import storage, table
from raysample.corpus import QUARANTINE, Corpus
from raysample.scores import create_all
from raysample.scoring.columns import Columns
from raysample.scoring.job import ScoreJob, ShardOutcome, finished, part, quarantine


class ShardScorer:
    """Holds the checkpoints in memory and scores shards with them; made once per actor."""

    def __init__(self, job: ScoreJob) -> None:
        self.job = job
        self.corpus = Corpus.load(job.corpus)
        self.columns = Columns(job)
        self.names = tuple(create_all(job.config.scores))

    def score(self, shard: int) -> ShardOutcome:
        """Score one shard and write its part, unless it is there already."""
        began = time.perf_counter()
        done = finished(self.job.folder, shard)
        if done is not None:
            return done
        rows = self.corpus.read(shard)
        lengths, columns = self.columns.of(rows)
        base = {"row_id": rows["row_id"], "label": rows["label"], "tokens": pa.array(lengths, pa.int32())}
        values = {name: pa.array(columns[name]) for name in self.names}
        if self.corpus.grouped:
            base[table.GROUP] = rows["group"]
        full = pa.table({**base, **values}).cast(table.schema(self.names, self.corpus.grouped))
        finite = np.all([np.isfinite(columns[name]) for name in self.names], axis=0)
        seconds = time.perf_counter() - began
        self._write(shard, full, finite, columns, seconds)
        kept = int(finite.sum())
        return ShardOutcome(shard, len(rows), kept, len(rows) - kept, seconds)

    def _write(
        self, shard: int, full: pa.Table, finite: Any, columns: dict[str, NDArray[np.float32]], seconds: float
    ) -> None:
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
        told = {"rows": str(len(full)), "bad": str(len(bad)), "seconds": f"{seconds:.3f}"}
        good = full.filter(pa.array(finite)).replace_schema_metadata(told)
        storage.write_parquet(part(self.job.folder, shard), good)
