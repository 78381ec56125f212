"""Ranges of content ids: the unit of merging, joining and writing. Their number grows with the size of the log."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from raysample.core import manifests, storage

RANGE_ROWS = 1 << 20
"""Tallied rows per range, approximately."""
PREFIXES = 1 << 16
"""Number of 4-digit hexadecimal id prefixes; a range is a run of prefixes."""


def range_count(rows: int) -> int:
    """Return the number of ranges for a log with so many tallied rows, in [1, PREFIXES]."""
    return max(1, min(PREFIXES, -(-rows // RANGE_ROWS)))


def range_bounds(at: int, of: int) -> tuple[str, str]:
    """Return the half-open interval of id prefixes of range `at` of `of`: its first prefix, and the first one after."""
    low, high = (place * PREFIXES // of for place in (at, at + 1))
    return f"{low:04x}", "g" if high == PREFIXES else f"{high:04x}"  # no hexadecimal digit comes after "g"


def place(row_id: str, of: int) -> int:
    """Return the index of the range that holds an id, consistent with `range_bounds`."""
    prefix = int(row_id[:4], 16)
    at = prefix * of // PREFIXES  # may be one too low, since the bounds are rounded down
    while at + 1 < of and (at + 1) * PREFIXES // of <= prefix:
        at += 1
    return at


def overlapping(at: int, of: int, others: int) -> range:
    """Return the indices of those of `others` ranges that overlap range `at` of `of`."""
    low, high = (place * PREFIXES // of for place in (at, at + 1))
    hit = [i for i in range(others) if i * PREFIXES // others < high and (i + 1) * PREFIXES // others > low]
    return range(hit[0], hit[-1] + 1)


def read_id_range(uri: str, at: int, of: int, column: str = "id", columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a file, sorted by id, whose ids lie in a range; other row groups are not decoded.

    Raises:
        StorageError: the file is missing or damaged.
    """
    low, high = range_bounds(at, of)
    storage.check_regular(uri)
    fs, path = storage.filesystem(uri)
    wanted = None if columns is None else list(columns)
    with manifests.damaged(uri):
        return pq.read_table(path, columns=wanted, filesystem=fs, filters=[(column, ">=", low), (column, "<", high)])
