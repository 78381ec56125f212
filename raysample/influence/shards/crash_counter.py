"""Shards that crash workers: counted in files that outlive the worker, so that no shard is retried for ever.

A marker is written before a shard is scored and removed when it is finished or fails with an ordinary error. If a
worker dies (killed, out of memory, a crash in native code), its marker remains.

A marker shows that a worker died, not why: the node may have been preempted, or the driver killed. So deaths alone do
not condemn a shard:

1. After MAX_DEATHS deaths the shard is scored in a process of its own (`shards.isolated`). If that process dies while
   its worker lives, the shard is to blame and its rows are quarantined.
2. If worker and process always die together (a memory limit on the whole container), the process proves nothing. The
   rows are quarantined all the same after MAX_SCORING_DEATHS deaths while the rows were being scored, or
   MAX_WORKER_DEATHS deaths in total: a process takes longer to start than to score a shard, and a worker killed
   meanwhile says nothing about the rows.
3. After MAX_DEATHS more deaths, over which the rows could not even be read, scoring stops with an error.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from raysample.core import manifests, storage
from raysample.core.errors import ScoreError
from raysample.data.corpus import Shard
from raysample.data.score_table_layout import part_uri, quarantine_uri, statistics_uri
from raysample.influence.shards.job import finished

MAX_DEATHS = 3
MAX_SCORING_DEATHS = 10
MAX_WORKER_DEATHS = 3 * MAX_SCORING_DEATHS


@dataclass(frozen=True)
class CrashCount:
    """The workers that died over a shard: `workers` in total, `scoring` while its rows were being scored."""

    workers: int = 0
    scoring: int = 0

    @property
    def isolated(self) -> bool:
        """Whether the shard is scored in a process of its own (rule 1)."""
        return self.workers >= MAX_DEATHS and not self.enough

    @property
    def enough(self) -> bool:
        """Whether the rows are quarantined although the blame is not proved (rule 2)."""
        return self.scoring >= MAX_SCORING_DEATHS or self.workers >= MAX_WORKER_DEATHS

    @property
    def hopeless(self) -> bool:
        """Whether scoring stops because the rows cannot even be quarantined (rule 3)."""
        return self.scoring >= MAX_SCORING_DEATHS + MAX_DEATHS or self.workers >= MAX_WORKER_DEATHS + MAX_DEATHS


def deaths(folder: str, shard: Shard) -> CrashCount:
    """Return the number of workers that died over a shard."""
    uri = _marker(folder, shard)
    if not storage.exists(uri):
        return CrashCount()
    data = manifests.mapping(uri, "attempts", "scoring")
    return CrashCount(*(manifests.whole_number(data, name, uri) for name in ("attempts", "scoring")))


@contextmanager
def attempt(folder: str, shard: Shard) -> Iterator[CrashCount]:
    """Count an attempt as a death unless the block ends, with or without an error; yield the deaths before it.

    The death counts as one during scoring at once, unless a process of its own scores the rows: that process calls
    `mark_started` when it starts with them.

    Raises:
        ScoreError: too many workers died: the shard can be neither scored nor quarantined.
    """
    died = deaths(folder, shard)
    if died.hopeless:
        raise ScoreError(
            f"{died.workers} workers died over rows {shard.start} to {shard.stop} of {shard.uri!r}, also while these"
            " were only read to set them aside",
            f"take the cause out of that file and describe the corpus again, or give workers more memory, delete"
            f" {_marker(folder, shard)!r} and run again",
        )
    # The current worker, for people who debug a shard that hangs.
    who = {"host": platform.node(), "pid": os.getpid()}
    _count(folder, shard, CrashCount(died.workers + 1, died.scoring + (not died.isolated)), who)
    try:
        yield died
    finally:
        forget(folder, shard)


def mark_started(folder: str, shard: Shard, before: CrashCount) -> None:
    """Record, from a process of its own, that it starts to score the rows of a shard."""
    uri = _marker(folder, shard)
    who = {name: value for name, value in manifests.mapping(uri).items() if name in ("host", "pid")}
    _count(folder, shard, CrashCount(before.workers + 1, before.scoring + 1), who)


def _count(folder: str, shard: Shard, died: CrashCount, who: dict[str, Any]) -> None:
    """Write a shard's marker: deaths including the current attempt, host and process id."""
    storage.write_json(_marker(folder, shard), {"attempts": died.workers, "scoring": died.scoring, **who})


def forget(folder: str, shard: Shard) -> None:
    """Reset the crash count of a shard."""
    storage.remove(_marker(folder, shard))


def reopen(folder: str, shards: Iterable[Shard]) -> int:
    """Delete the parts of shards with quarantined rows, so that they are scored again.

    Return the number of those rows.
    """
    rows = 0
    for shard in shards:
        done = finished(folder, shard)
        if done is not None and done.quarantined:
            rows += done.quarantined
            storage.remove(statistics_uri(folder, shard))  # before the part: statistics are recomputed from parts
            storage.remove(part_uri(folder, shard))  # without it the shard is not done
            storage.remove(quarantine_uri(folder, shard))
            forget(folder, shard)
    return rows


def crash_reason(died: CrashCount) -> str:
    """Return the quarantine reason for the rows of a shard that crashed workers."""
    return f"its shard crashed {died.workers} workers" + ("" if died.enough else " and every process of its own")


def _marker(folder: str, shard: Shard) -> str:
    """Return the URI of a shard's marker."""
    return storage.join(folder, "attempts", f"{shard.name}.json")
