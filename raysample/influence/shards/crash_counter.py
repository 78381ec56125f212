"""Shards over which workers die: counted in files that outlive the worker, so that none is tried for ever.

A marker is written before a shard is scored and removed when it is done, or when it fails with an error that can be
told. What is left of a worker that died (killed, out of memory, a crash in native code) is its marker.

A marker tells that a worker died, not why: its node may have been taken away, or the driver killed. So deaths alone do
not condemn a shard. After MOST of them it is scored in a process of its own (`scoring.apart`), and only if that dies,
too, while the worker that watches it lives, the shard is to blame and set aside. Where worker and process always die
together (a limit of memory on the whole container), nothing is learned; the shard is set aside nevertheless after LIMIT
deaths while its rows were being scored, or PATIENCE deaths in all: a process takes longer to start than to score a
shard, and a worker that is killed meanwhile says nothing about the rows. After MOST more deaths, over which its rows
could not even be read, scoring stops.
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
from raysample.influence.shards.job import finished, part_uri, quarantine_uri, statistics

MOST = 3
LIMIT = 10
PATIENCE = 3 * LIMIT


@dataclass(frozen=True)
class CrashCount:
    """Workers that died over a shard: all of them, and those that died while its rows were being scored."""

    workers: int = 0
    scoring: int = 0

    @property
    def apart(self) -> bool:
        """Whether the shard is scored in a process of its own."""
        return self.workers >= MOST and not self.enough

    @property
    def enough(self) -> bool:
        """Whether the shard is set aside, though nobody knows that it is to blame."""
        return self.scoring >= LIMIT or self.workers >= PATIENCE

    @property
    def hopeless(self) -> bool:
        """Whether it cannot even be set aside."""
        return self.scoring >= LIMIT + MOST or self.workers >= PATIENCE + MOST


def deaths(folder: str, shard: Shard) -> CrashCount:
    """Return how many workers died over a shard."""
    uri = _marker(folder, shard)
    if not storage.exists(uri):
        return CrashCount()
    told = manifests.mapping(uri, "attempts")
    workers = manifests.whole_number(told, "attempts", uri)
    return CrashCount(
        workers, manifests.whole_number({"scoring": workers, **told}, "scoring", uri)
    )  # earlier versions counted all as one


@contextmanager
def attempt(folder: str, shard: Shard) -> Iterator[CrashCount]:
    """Count an attempt as a death unless it comes to an end, good or bad; yields how many died before.

    As a death over the rows it counts at once, but where a process of their own scores them: that tells by `touched`
    when it comes to them.

    Raises:
        ScoreError: too many workers died: the shard can be neither scored nor set aside.
    """
    died = deaths(folder, shard)
    if died.hopeless:
        raise ScoreError(
            f"{died.workers} workers died over rows {shard.start} to {shard.stop} of {shard.uri!r}, also while these"
            " were only read to set them aside",
            f"take the cause out of that file and describe the corpus again, or give workers more memory, delete"
            f" {_marker(folder, shard)!r} and run again",
        )
    # Who is at work: for people who look for a shard that hangs.
    who = {"host": platform.node(), "pid": os.getpid()}
    _count(folder, shard, CrashCount(died.workers + 1, died.scoring + (not died.apart)), who)
    try:
        yield died
    finally:
        forget(folder, shard)


def mark_started(folder: str, shard: Shard, before: CrashCount) -> None:
    """Note, from a process of its own, that the rows of a shard are being scored now."""
    uri = _marker(folder, shard)
    who = {name: value for name, value in manifests.mapping(uri).items() if name in ("host", "pid")}
    _count(folder, shard, CrashCount(before.workers + 1, before.scoring + 1), who)


def _count(folder: str, shard: Shard, died: CrashCount, who: dict[str, Any]) -> None:
    storage.write_json(_marker(folder, shard), {"attempts": died.workers, "scoring": died.scoring, **who})


def forget(folder: str, shard: Shard) -> None:
    """Forget a shard's crashes."""
    storage.remove(_marker(folder, shard))


def reopen(folder: str, shards: Iterable[Shard]) -> int:
    """Take away the parts of shards that set rows aside, so that they are scored again; return those rows' number."""
    rows = 0
    for shard in shards:
        done = finished(folder, shard)
        if done is not None and done.quarantined:
            rows += done.quarantined
            storage.remove(statistics(folder, shard))  # before the part, of which they are made again if need be
            storage.remove(part_uri(folder, shard))  # without it the shard is not done
            storage.remove(quarantine_uri(folder, shard))
            forget(folder, shard)
    return rows


def crash_reason(died: CrashCount) -> str:
    """Return why the rows of a shard are set aside over which workers died."""
    return f"its shard crashed {died.workers} workers" + ("" if died.enough else " and every process of its own")


def _marker(folder: str, shard: Shard) -> str:
    return storage.join(folder, "attempts", f"{shard.name}.json")
