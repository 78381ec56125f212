"""The statistics of parts, kept beside them, and those of the table, merged from them.

The statistics of a part are a pure function of it: what lies beside it only saves reading it again. So where it has
few rows for each class and group, and statistics would take as much room as the rows, none are kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from raysample.core import storage
from raysample.core.errors import ScoreError, StorageError
from raysample.core.map_fn import MapFn, threads
from raysample.core.statistics import (
    Statistics,
    count_part,
    merge_statistics,
    nothing,
    read_statistics,
    write_statistics_file,
)
from raysample.data.corpus import Shard
from raysample.data.score_table import STATISTICS, ScoreTable
from raysample.influence.shards import job

UNTOLD = "no reason was kept"
FEWEST = 16
"""Rows for each class and group from which on a part's statistics are smaller than the part."""
BATCH = 32  # parts whose statistics one task merges, at least
BATCHES = 1024  # tasks, at most


def keep(folder: str, shard: Shard, found: Statistics) -> None:
    """Write the statistics of a shard's part, where they are smaller than the part; before the part is written."""
    uri = job.statistics(folder, shard)
    cells = len(found.classes.keys) + (0 if found.groups is None else len(found.groups.keys))
    if found.rows >= FEWEST * cells:
        write_statistics_file(uri, found)
    else:
        storage.remove(uri)


def write_statistics(table: ScoreTable, spread: MapFn = threads) -> Statistics:
    """Merge the statistics of a table's parts and write them beside its manifest.

    `spread` maps over batches of parts (`Engine.map`), so that memory grows with neither rows nor parts.

    Raises:
        ScoreError: the parts do not hold the rows that the table counts.
    """
    size = max(BATCH, math.ceil(len(table.parts) / BATCHES))
    batches = [table.parts[start : start + size] for start in range(0, len(table.parts), size)]
    mapped = spread if len(batches) > 1 else threads  # one batch is not worth a worker's start
    total = merge_statistics(mapped(partial(_of_parts, table), batches), nothing(table.columns, table.grouped))
    untold = table.counts["quarantined"] - total.quarantined
    if total.rows != table.counts["scored"] or untold < 0:
        raise ScoreError(
            f"the parts of {table.uri!r} hold {total.rows:,} scored rows and {total.quarantined:,} set aside, "
            f"{table.counts['scored']:,} and {table.counts['quarantined']:,} were counted",
            "their files were changed after scoring; delete the folder of the parts and score again",
        )
    if untold:
        total = replace(total, reasons={**total.reasons, UNTOLD: untold})
    write_statistics_file(storage.join(table.uri, STATISTICS), total, table.fingerprint)
    return total


def ensure_statistics(table: ScoreTable, spread: MapFn = threads) -> None:
    """Write the statistics of a table unless they are there; what it raises is that of `write_statistics`."""
    try:
        table.statistics()
    except (ScoreError, StorageError):
        write_statistics(table, spread)


def _of_parts(table: ScoreTable, names: Sequence[str]) -> Statistics:
    return merge_statistics((_of_part(table, name) for name in names), nothing(table.columns, table.grouped))


def _of_part(table: ScoreTable, name: str) -> Statistics:
    """Read the statistics that lie beside a part, or count the part."""
    try:
        return read_statistics(storage.join(table.uri, job.statistics_of(name)))[0]
    except StorageError:
        return _count(table, name)


def _count(table: ScoreTable, name: str) -> Statistics:
    """Count a part; why rows were set aside is told by the quarantine file beside it, where there is one."""
    part = storage.read_parquet(storage.join(table.uri, name))
    told = part.schema.metadata or {}
    reasons, lost = Counter[str](), storage.join(table.uri, job.quarantine_of(name))
    if told.get(b"bad") != b"0" and storage.exists(lost):
        reasons.update(storage.read_parquet(lost, ["reason"])["reason"].to_pylist())
    return count_part(part, table.columns, seconds=float(told.get(b"seconds", 0)), reasons=reasons)
