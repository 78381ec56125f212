"""Shards over which workers die: counted in files that outlive the worker, so that none is tried for ever.

A marker is written before a shard is scored and removed when it is done, or when it fails with an error that can be
told. What is left of a worker that died (killed, out of memory, a crash in native code) is its marker.

A marker tells that a worker died, not why: its node may have been taken away, or the driver killed. So deaths alone do
not condemn a shard. After MOST of them it is scored in a process of its own (`scoring.apart`), and only if that dies,
too, while the worker that watches it lives, the shard is to blame and set aside. Where worker and process always die
together (a limit of memory on the whole container), nothing is learned; after LIMIT deaths the shard is set aside
nevertheless, and after MOST more, over which its rows could not even be read, scoring stops.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from raysample import storage
from raysample.corpus import Shard
from raysample.errors import ScoreError
from raysample.scoring.job import finished, part, quarantine, statistics

MOST = 3
LIMIT = 10


def crashes(folder: str, shard: Shard) -> int:
    """Return how many workers died while they scored a shard."""
    uri = _marker(folder, shard)
    return int(storage.read_json(uri)["attempts"]) if storage.exists(uri) else 0


@contextmanager
def attempt(folder: str, shard: Shard) -> Iterator[int]:
    """Count an attempt as a crash unless it comes to an end, good or bad; yields how many crashed before.

    Raises:
        ScoreError: LIMIT + MOST workers died: the shard can be neither scored nor set aside.
    """
    died = crashes(folder, shard)
    if died >= LIMIT + MOST:
        raise ScoreError(
            f"{died} workers died over rows {shard.start} to {shard.stop} of {shard.uri!r}, also while these were only"
            " read to set them aside",
            f"take the cause out of that file and describe the corpus again, or give workers more memory, delete"
            f" {_marker(folder, shard)!r} and run again",
        )
    # Who is at work: for people who look for a shard that hangs.
    who = {"host": platform.node(), "pid": os.getpid()}
    storage.write_json(_marker(folder, shard), {"attempts": died + 1, **who})
    try:
        yield died
    finally:
        forget(folder, shard)


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
            storage.remove(part(folder, shard))  # without it the shard is not done
            storage.remove(quarantine(folder, shard))
            forget(folder, shard)
    return rows


def reason(died: int) -> str:
    """Return why the rows of a shard are set aside over which `died` workers died."""
    return f"its shard crashed {died} workers" + (" and every process of its own" if died < LIMIT else "")


def _marker(folder: str, shard: Shard) -> str:
    return storage.join(folder, "attempts", f"{shard.name}.json")
