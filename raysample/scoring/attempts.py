"""Shards that crash their workers: counted in files that outlive the worker, set aside after the third time.

A marker is written before a shard is scored and removed when it is done, or when it fails with an error that can be
told. What is left of a worker that died (killed, out of memory, a crash in native code) is its marker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from raysample import storage
from raysample.corpus import Shard
from raysample.scoring.job import finished, part, quarantine, statistics

MOST = 3


def crashes(folder: str, shard: Shard) -> int:
    """Return how many workers died while they scored a shard."""
    uri = _marker(folder, shard)
    return int(storage.read_json(uri)["attempts"]) if storage.exists(uri) else 0


@contextmanager
def attempt(folder: str, shard: Shard) -> Iterator[None]:
    """Count an attempt as a crash unless it comes to an end, good or bad."""
    storage.write_json(_marker(folder, shard), {"attempts": crashes(folder, shard) + 1})
    try:
        yield
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


def _marker(folder: str, shard: Shard) -> str:
    return storage.join(folder, "attempts", f"{shard.name}.json")
