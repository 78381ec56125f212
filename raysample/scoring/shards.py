"""Scoring one shard: read, tokenise, visit the checkpoints of every run, write one part."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raysample import storage, table
from raysample.corpus import QUARANTINE, Corpus, Shard
from raysample.policies.base import group_codes
from raysample.scores import create_all
from raysample.scoring import attempts, summaries
from raysample.scoring.bisection import Scored, carefully
from raysample.scoring.columns import Columns
from raysample.scoring.job import ScoreJob, ShardOutcome, finished, part, quarantine
from raysample.statistics import counted


class ShardScorer:
    """Holds the checkpoints in memory and scores shards with them; made once per actor."""

    def __init__(self, job: ScoreJob) -> None:
        self.job = job
        self.corpus = Corpus.load(job.corpus)
        self.columns = Columns(job)
        self.names = tuple(create_all(job.config.scores))

    def score(self, shard: int) -> ShardOutcome:
        """Score one shard and write its part, unless it is there already; set it aside where it keeps crashing."""
        began, folder = time.perf_counter(), self.job.folder
        where = self.corpus.shards[shard]
        done = finished(folder, where)
        if done is not None:
            return done
        rows = self.corpus.read(shard)
        if attempts.crashes(folder, where) >= attempts.MOST:
            scored = Scored.nothing(len(rows), f"its shard crashed {attempts.MOST} workers")
        else:
            with attempts.attempt(folder, where):
                scored = carefully(self.columns.of, rows)
        outcome = self._write(where, rows, scored, began)
        attempts.forget(folder, where)
        return outcome

    def _write(self, shard: Shard, rows: pa.Table, scored: Scored, began: float) -> ShardOutcome:
        """Write the part last: where it is there it is whole, and so is what belongs to it."""
        base = {"row_id": rows["row_id"], "label": rows["label"], "tokens": pa.array(scored.lengths, pa.int32())}
        if self.corpus.grouped:
            base |= {table.GROUP: rows["group"], table.GROUP_CODE: pa.array(group_codes(rows["group"]))}
        values = {name: scored.column(name) for name in self.names}
        columns = {name: pa.array(column) for name, column in values.items()}
        full = pa.table({**base, **columns}).cast(table.schema(self.names, self.corpus.grouped))
        finite = np.all([np.isfinite(column) for column in values.values()], axis=0)
        bad = np.flatnonzero(~finite)
        reasons = [scored.reasons.get(row) or _not_finite(values, row) for row in bad.tolist()]
        if len(bad):
            storage.write_parquet(quarantine(self.job.folder, shard), self._lost(shard, full["row_id"], bad, reasons))
        seconds = time.perf_counter() - began
        told = {"rows": str(len(full)), "bad": str(len(bad)), "seconds": f"{seconds:.3f}"}
        good = full.filter(pa.array(finite)).replace_schema_metadata(told)
        found = counted(good, self.names, seconds=seconds, reasons=Counter(reasons))
        summaries.keep(self.job.folder, shard, found)
        storage.write_parquet(part(self.job.folder, shard), good)
        return ShardOutcome(shard.index, len(full), len(full) - len(bad), len(bad), seconds)

    def _lost(self, shard: Shard, ids: pa.ChunkedArray, bad: NDArray[np.int64], reasons: list[str]) -> pa.Table:
        place = pa.array(self.corpus.positions(shard.index)[bad])
        uri, stage = [shard.uri] * len(bad), ["score"] * len(bad)
        return pa.table([uri, place, ids.take(pa.array(bad)), stage, reasons], schema=QUARANTINE)


def _not_finite(values: Mapping[str, NDArray[np.float32]], row: int) -> str:
    return f"not finite: {', '.join(name for name, column in values.items() if not np.isfinite(column[row]))}"
