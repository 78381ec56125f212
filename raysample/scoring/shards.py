"""Scoring one shard: read, tokenise, visit the checkpoints of every run, write one part."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raysample import storage, table
from raysample.corpus import QUARANTINE, Corpus, Shard
from raysample.errors import RaysampleError
from raysample.model import Encoded
from raysample.policies.base import group_codes
from raysample.scores import create_all
from raysample.scoring import attempts, summaries
from raysample.scoring.bisection import Scored, carefully
from raysample.scoring.columns import Columns
from raysample.scoring.job import ScoreJob, ShardOutcome, finished, part, quarantine
from raysample.scoring.visits import Values
from raysample.statistics import counted


@dataclass(frozen=True)
class Begun:
    """A shard that was read, on its way through a scorer.

    Attributes:
        shard: which.
        seconds: of work so far.
        crashes: workers that died of it.
        done: what became of it, if it was done before.
        rows: its rows; None where it must be read alone, as it crashed workers.
        encoded: their tokens; None where that failed, for the rows that it fails for to be found.
    """

    shard: Shard
    seconds: float = 0.0
    crashes: int = 0
    done: ShardOutcome | None = None
    rows: pa.Table | None = None
    encoded: Encoded | None = None


class ShardScorer:
    """Holds the checkpoints in memory and scores shards with them; made once per actor.

    Two threads may call it at a time: one shard is then read, tokenised and written while another is on the device.
    A shard that crashed a worker is worked on alone, so that only the culprit is counted again.
    """

    def __init__(self, job: ScoreJob) -> None:
        self.job = job
        self.corpus = Corpus.load(job.corpus)
        self.columns = Columns(job)
        self.names = tuple(create_all(job.config.scores))
        # Whoever takes both takes `_reading` first.
        self._reading, self._device = threading.Lock(), threading.Lock()

    def score(self, shard: int) -> ShardOutcome:
        """Score one shard and write its part, unless it is there already; set it aside where it keeps crashing."""
        return self.finish(self.begin(shard))

    def score_all(self, shards: Iterable[int]) -> Iterator[ShardOutcome]:
        """Score shards in order; while one is on the device, a thread reads and tokenises the next."""
        with ThreadPoolExecutor(1, "raysample-reading") as ahead:
            waiting = deque[Future[Begun]]()
            try:
                for shard in shards:
                    waiting.append(ahead.submit(self.begin, shard))
                    if len(waiting) > 1:
                        yield self.finish(waiting.popleft().result())
                while waiting:
                    yield self.finish(waiting.popleft().result())
            finally:
                ahead.shutdown(cancel_futures=True)

    def begin(self, shard: int) -> Begun:
        """Read and tokenise a shard, for `finish`."""
        folder, where = self.job.folder, self.corpus.shards[shard]
        done = finished(folder, where)
        if done is not None:
            return Begun(where, done=done)
        with self._reading:
            crashes = attempts.crashes(folder, where)
            if crashes:
                return Begun(where, crashes=crashes)
            began = time.perf_counter()
            with attempts.attempt(folder, where):
                rows = self.corpus.read(shard)
                encoded = self._encoded(rows)
            return Begun(where, time.perf_counter() - began, rows=rows, encoded=encoded)

    def finish(self, begun: Begun) -> ShardOutcome:
        """Score and write a shard that was begun."""
        if begun.done is not None:
            return begun.done
        folder, where = self.job.folder, begun.shard
        with nullcontext() if begun.rows is not None else self._reading, self._device:
            began = time.perf_counter() - begun.seconds
            rows = self.corpus.read(where.index) if begun.rows is None else begun.rows
            if begun.crashes >= attempts.MOST:
                scored = Scored.nothing(len(rows), f"its shard crashed {attempts.MOST} workers")
            else:
                with attempts.attempt(folder, where):
                    scored = carefully(partial(self._of, begun), rows)
        outcome = self._write(where, rows, scored, began)
        attempts.forget(folder, where)
        return replace(outcome, crashes=begun.crashes)

    def _of(self, begun: Begun, rows: pa.Table) -> tuple[NDArray[np.int32], Values]:
        """Score rows; all rows of a shard have been tokenised already, if that went well."""
        return self.columns.of(rows, begun.encoded if rows is begun.rows else None)

    def _encoded(self, rows: pa.Table) -> Encoded | None:
        try:
            return self.columns.encode(rows)
        except RaysampleError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is: it is raised again when the shard is scored, and looked into
            return None

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
