"""Scoring one shard: read, tokenise, visit the checkpoints of every run, write one part."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from raysample import storage, table
from raysample.corpus import QUARANTINE, Corpus, Shard
from raysample.policies.base import group_codes
from raysample.scores import create_all
from raysample.scoring import apart, attempts
from raysample.scoring.bisection import Scored, carefully
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
        """Score one shard and write its part, unless it is there already; set it aside where it keeps crashing."""
        where = self.corpus.shards[shard]
        done = finished(self.job.folder, where)
        if done is not None:
            return done
        with attempts.attempt(self.job.folder, where) as died:
            return self.here(shard) if died < attempts.MOST else self._after_crashes(shard, died)

    def here(self, shard: int) -> ShardOutcome:
        """Score one shard in this process and write its part."""
        began, rows = time.perf_counter(), self.corpus.read(shard)
        return self._write(self.corpus.shards[shard], rows, carefully(self.columns.of, rows), began)

    def _after_crashes(self, shard: int, died: int) -> ShardOutcome:
        """Score a shard over which workers died in a process of its own; set it aside where that dies as well."""
        began, where = time.perf_counter(), self.corpus.shards[shard]
        if died < attempts.LIMIT:
            del self.columns  # two sets of models may not fit
            torch.cuda.empty_cache()
            try:
                survived = apart.survived(self.job, shard)
            finally:
                self.columns = Columns(self.job)
            if survived:
                done = finished(self.job.folder, where)
                assert done is not None, "a process that lives writes the part before it answers"
                return done
        rows = self.corpus.read(shard)
        return self._write(where, rows, Scored.nothing(len(rows), attempts.reason(died)), began)

    def _write(self, shard: Shard, rows: pa.Table, scored: Scored, began: float) -> ShardOutcome:
        """Write the quarantine file before the part: a part that is there is whole, and so is what belongs to it."""
        done = finished(self.job.folder, shard)
        if done is not None:
            return done  # another worker was faster, one that was taken for dead: what is finished stays as it is
        base = {"row_id": rows["row_id"], "label": rows["label"], "tokens": pa.array(scored.lengths, pa.int32())}
        if self.corpus.grouped:
            base |= {table.GROUP: rows["group"], table.GROUP_CODE: pa.array(group_codes(rows["group"]))}
        values = {name: scored.column(name) for name in self.names}
        columns = {name: pa.array(column) for name, column in values.items()}
        full = pa.table({**base, **columns}).cast(table.schema(self.names, self.corpus.grouped))
        finite = np.all([np.isfinite(column) for column in values.values()], axis=0)
        bad = np.flatnonzero(~finite)
        if len(bad):
            reasons = [scored.reasons.get(row) or _not_finite(values, row) for row in bad.tolist()]
            storage.write_parquet(quarantine(self.job.folder, shard), self._lost(shard, full["row_id"], bad, reasons))
        else:
            storage.remove(quarantine(self.job.folder, shard))  # of an attempt that died before it wrote its part
        seconds = time.perf_counter() - began
        told = {"rows": str(len(full)), "bad": str(len(bad)), "seconds": f"{seconds:.3f}"}
        good = full.filter(pa.array(finite)).replace_schema_metadata(told)
        storage.write_parquet(part(self.job.folder, shard), good)
        return ShardOutcome(shard.index, len(full), len(full) - len(bad), len(bad), seconds)

    def _lost(self, shard: Shard, ids: pa.ChunkedArray, bad: NDArray[np.int64], reasons: list[str]) -> pa.Table:
        place = pa.array(self.corpus.positions(shard.index)[bad])
        uri, stage = [shard.uri] * len(bad), ["score"] * len(bad)
        return pa.table([uri, place, ids.take(pa.array(bad)), stage, reasons], schema=QUARANTINE)


def _not_finite(values: Mapping[str, NDArray[np.float32]], row: int) -> str:
    return f"not finite: {', '.join(name for name, column in values.items() if not np.isfinite(column[row]))}"
