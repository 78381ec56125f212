"""The statistics of parts, stored beside them, and the statistics of the table, merged from those.

The statistics of a part are a pure function of the part; the stored file only saves reading the part again. If a part
has few rows per class and group, statistics take as much space as the rows, so none are stored.
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
from raysample.data.score_table_layout import quarantine_of, statistics_of, statistics_uri

UNTOLD = "no reason was kept"
MIN_ROWS_PER_CELL = 16
"""Rows per class and group from which the statistics of a part are smaller than the part."""
BATCH = 32  # parts whose statistics one task merges, at least
BATCHES = 1024  # tasks, at most


def keep(folder: str, shard: Shard, found: Statistics) -> None:
    """Write the statistics of a shard's part if they are smaller than the part; call before the part is written."""
    uri = statistics_uri(folder, shard)
    cells = len(found.classes.keys) + (0 if found.groups is None else len(found.groups.keys))
    if found.rows >= MIN_ROWS_PER_CELL * cells:
        write_statistics_file(uri, found)
    else:
        storage.remove(uri)


def write_statistics(table: ScoreTable, map_fn: MapFn = threads) -> Statistics:
    """Merge the statistics of a table's parts and write them beside its manifest.

    `map_fn` maps over batches of parts (`Executor.map`), so that memory does not grow with rows or parts.

    Raises:
        ScoreError: the number of rows in the parts differs from the count in the manifest.
    """
    size = max(BATCH, math.ceil(len(table.parts) / BATCHES))
    batches = [table.parts[start : start + size] for start in range(0, len(table.parts), size)]
    mapped = map_fn if len(batches) > 1 else threads  # one batch is not worth a worker's start
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


def ensure_statistics(table: ScoreTable, map_fn: MapFn = threads) -> None:
    """Write the statistics of a table if missing or damaged; raises as `write_statistics` does."""
    try:
        table.statistics()
    except (ScoreError, StorageError):
        write_statistics(table, map_fn)


def _of_parts(table: ScoreTable, names: Sequence[str]) -> Statistics:
    """Merge the statistics of some parts, one part at a time."""
    return merge_statistics((_of_part(table, name) for name in names), nothing(table.columns, table.grouped))


def _of_part(table: ScoreTable, name: str) -> Statistics:
    """Return the statistics stored beside a part, or count the part."""
    try:
        return read_statistics(storage.join(table.uri, statistics_of(name)))[0]
    except StorageError:
        return _count(table, name)


def _count(table: ScoreTable, name: str) -> Statistics:
    """Count a part; the reasons of its quarantined rows come from the quarantine file beside it, if it exists."""
    part = storage.read_parquet(storage.join(table.uri, name))
    metadata = part.schema.metadata or {}
    reasons, lost = Counter[str](), storage.join(table.uri, quarantine_of(name))
    if metadata.get(b"bad") != b"0" and storage.exists(lost):
        reasons.update(storage.read_parquet(lost, ["reason"])["reason"].to_pylist())
    return count_part(part, table.columns, seconds=float(metadata.get(b"seconds", 0)), reasons=reasons)
