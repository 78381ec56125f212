"""Score one shard: read, tokenise, visit the checkpoints of every run, write one part."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from raysample.core import storage
from raysample.core.errors import RaysampleError
from raysample.core.statistics import count_part
from raysample.data import score_table
from raysample.data.corpus import QUARANTINE, Corpus, Shard
from raysample.data.identity import group_codes
from raysample.data.score_table_layout import part_uri, quarantine_uri
from raysample.influence.scores import create_scores
from raysample.influence.shards import crash_counter, isolated, part_statistics
from raysample.influence.shards.columns import ColumnScorer
from raysample.influence.shards.crash_counter import CrashCount
from raysample.influence.shards.isolation import Scored, score_with_isolation
from raysample.influence.shards.job import ScoreJob, ShardOutcome, finished
from raysample.models import Encoded


@dataclass(frozen=True)
class LoadedShard:
    """A shard that was read, on its way through a scorer.

    Attributes:
        shard: the shard.
        seconds: seconds of work so far.
        crashes: workers that died over it in this run.
        done: its outcome if an earlier run finished it.
        rows: its rows; None if it must be read in isolation because it crashed workers.
        encoded: the tokens of the rows; None if tokenising raised an error, which `finish` then assigns to single rows.
    """

    shard: Shard
    seconds: float = 0.0
    crashes: int = 0
    done: ShardOutcome | None = None
    rows: pa.Table | None = None
    encoded: Encoded | None = None


class ShardScorer:
    """Holds the checkpoints in memory and scores shards with them; one per actor.

    Two threads may use it at a time: one shard is read, tokenised and written while another one is on the device. A
    shard that crashed a worker is processed with no other shard in flight, so that a further crash is counted for that
    shard only.
    """

    def __init__(self, job: ScoreJob) -> None:
        self.job = job
        self.corpus = Corpus.load(job.corpus)
        self.columns = ColumnScorer(job)
        self.names = tuple(create_scores(job.config.scores))
        # Lock order: a thread that takes both locks takes `_reading` first.
        self._reading, self._device = threading.Lock(), threading.Lock()

    def score(self, shard: int) -> ShardOutcome:
        """Score one shard and write its part unless the part exists.

        Quarantine its rows if it keeps crashing workers.
        """
        return self.finish(self.begin(shard))

    def score_all(self, shards: Iterable[int]) -> Iterator[ShardOutcome]:
        """Score shards in order and yield their outcomes; a second thread reads and tokenises one shard ahead."""
        with ThreadPoolExecutor(1, "raysample-reading") as ahead:
            waiting = deque[Future[LoadedShard]]()
            try:
                for shard in shards:
                    waiting.append(ahead.submit(self.begin, shard))
                    if len(waiting) > 1:
                        yield self.finish(waiting.popleft().result())
                while waiting:
                    yield self.finish(waiting.popleft().result())
            finally:
                ahead.shutdown(cancel_futures=True)

    def begin(self, shard: int) -> LoadedShard:
        """Read and tokenise a shard for `finish`; a finished shard is not read again."""
        folder, where = self.job.folder, self.corpus.shards[shard]
        done = finished(folder, where)
        if done is not None:
            return LoadedShard(where, done=done)
        with self._reading:
            crashes = crash_counter.deaths(folder, where).workers
            if crashes:
                return LoadedShard(where, crashes=crashes)
            began = time.perf_counter()
            with crash_counter.attempt(folder, where):
                rows = self.corpus.read(shard)
                encoded = self._encoded(rows)
            return LoadedShard(where, time.perf_counter() - began, rows=rows, encoded=encoded)

    def finish(self, begun: LoadedShard) -> ShardOutcome:
        """Score a shard from `begin` and write its part."""
        if begun.done is not None:
            return begun.done
        folder, where, rows = self.job.folder, begun.shard, begun.rows
        if rows is None:
            with self._reading, self._device, crash_counter.attempt(folder, where) as died:
                few = died.workers < crash_counter.MAX_DEATHS
                outcome = self.here(where.index) if few else self._after_crashes(where, died)
        else:
            with self._device, crash_counter.attempt(folder, where):
                began = time.perf_counter() - begun.seconds
                scored = score_with_isolation(self.columns.score_rows, rows, begun.encoded)
            outcome = self._write(where, rows, scored, began)
        return replace(outcome, crashes=begun.crashes)

    def here(self, shard: int) -> ShardOutcome:
        """Score one shard in this process and thread, and write its part."""
        began, rows = time.perf_counter(), self.corpus.read(shard)
        return self._write(self.corpus.shards[shard], rows, score_with_isolation(self.columns.score_rows, rows), began)

    def _after_crashes(self, where: Shard, died: CrashCount) -> ShardOutcome:
        """Score a shard that crashed workers in a process of its own.

        Quarantine all its rows if that process dies too.
        """
        began = time.perf_counter()
        if died.isolated:
            del self.columns  # the process loads the models too: two sets may not fit
            torch.cuda.empty_cache()
            try:
                survived = isolated.survived(self.job, where.index, died)
            finally:
                self.columns = ColumnScorer(self.job)
            if survived:
                done = finished(self.job.folder, where)
                assert done is not None, "the process writes the part before its answer"
                return done
        rows = self.corpus.read(where.index)
        return self._write(where, rows, Scored.nothing(len(rows), crash_counter.crash_reason(died)), began)

    def _encoded(self, rows: pa.Table) -> Encoded | None:
        """Return the tokens of rows, or None if a row makes the tokenizer fail."""
        try:
            return self.columns.encode(rows)
        except RaysampleError:
            raise
        except Exception:  # noqa: BLE001 - any error: scoring the shard raises it again and finds the row
            return None

    def _write(self, shard: Shard, rows: pa.Table, scored: Scored, began: float) -> ShardOutcome:
        """Write quarantine, statistics and part of a shard, the part last.

        Its existence means that everything else is whole.
        """
        done = finished(self.job.folder, shard)
        if done is not None:
            return done  # a worker that Ray declared dead was alive and finished first: a finished part never changes
        base = {"row_id": rows["row_id"], "label": rows["label"], "tokens": pa.array(scored.lengths, pa.int32())}
        if self.corpus.grouped:
            base |= {
                score_table.GROUP_COLUMN: rows["group"],
                score_table.GROUP_CODE_COLUMN: pa.array(group_codes(rows["group"])),
            }
        values = {name: scored.column(name) for name in self.names}
        columns = {name: pa.array(column) for name, column in values.items()}
        full = pa.table({**base, **columns}).cast(score_table.table_schema(self.names, self.corpus.grouped))
        finite = np.all([np.isfinite(column) for column in values.values()], axis=0)
        bad = np.flatnonzero(~finite)
        reasons = [scored.reasons.get(row) or _not_finite(values, row) for row in bad.tolist()]
        if len(bad):
            storage.write_parquet(
                quarantine_uri(self.job.folder, shard), self._lost(shard, full["row_id"], bad, reasons)
            )
        else:
            storage.remove(quarantine_uri(self.job.folder, shard))  # of an attempt that died before its part
        seconds = time.perf_counter() - began
        metadata = {"rows": str(len(full)), "bad": str(len(bad)), "seconds": f"{seconds:.3f}"}
        good = full.filter(pa.array(finite)).replace_schema_metadata(metadata)
        found = count_part(good, self.names, seconds=seconds, reasons=Counter(reasons))
        part_statistics.keep(self.job.folder, shard, found)
        # The commit: a shard is finished if and only if its part exists (`job.finished`).
        storage.write_parquet(part_uri(self.job.folder, shard), good)
        return ShardOutcome(shard.index, len(full), len(full) - len(bad), len(bad), seconds)

    def _lost(self, shard: Shard, ids: pa.ChunkedArray, bad: NDArray[np.int64], reasons: list[str]) -> pa.Table:
        """Return the quarantine rows for the rows at positions `bad`, with their reasons."""
        place = pa.array(self.corpus.positions(shard.index)[bad])
        uri, stage = [shard.uri] * len(bad), ["score"] * len(bad)
        return pa.table([uri, place, ids.take(pa.array(bad)), stage, reasons], schema=QUARANTINE)


def _not_finite(values: Mapping[str, NDArray[np.float32]], row: int) -> str:
    """Return the quarantine reason of a row: the scores that are not finite."""
    return f"not finite: {', '.join(name for name, column in values.items() if not np.isfinite(column[row]))}"
