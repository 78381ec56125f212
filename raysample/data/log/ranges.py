"""Ranges of content ids: what is merged, joined and written together. Their number follows the size of the log."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from raysample.core import manifests, storage

ROWS = 1 << 20
"""Tallied rows of a range, about."""
PREFIXES = 1 << 16


def range_count(rows: int) -> int:
    """Return how many ranges a log with so many tallied rows is cut into."""
    return max(1, min(PREFIXES, -(-rows // ROWS)))


def range_bounds(at: int, of: int) -> tuple[str, str]:
    """Return the first id prefix of range `at` of `of`, and the first one after it."""
    low, high = (place * PREFIXES // of for place in (at, at + 1))
    return f"{low:04x}", "g" if high == PREFIXES else f"{high:04x}"  # no hexadecimal digit comes after "g"


def place(row_id: str, of: int) -> int:
    """Return the range that an id lies in."""
    prefix = int(row_id[:4], 16)
    at = prefix * of // PREFIXES  # the floors of the bounds may be one off
    while at + 1 < of and (at + 1) * PREFIXES // of <= prefix:
        at += 1
    return at


def overlapping(at: int, of: int, others: int) -> range:
    """Return which of `others` ranges share an id with range `at` of `of`."""
    low, high = (place * PREFIXES // of for place in (at, at + 1))
    hit = [i for i in range(others) if i * PREFIXES // others < high and (i + 1) * PREFIXES // others > low]
    return range(hit[0], hit[-1] + 1)


def read_id_range(uri: str, at: int, of: int, column: str = "id", columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a file that rises by id whose ids lie in a range; row groups without any are not decoded.

    Raises:
        StorageError: the file is missing or damaged.
    """
    low, high = range_bounds(at, of)
    storage.check_regular(uri)
    fs, path = storage.filesystem(uri)
    wanted = None if columns is None else list(columns)
    with manifests.damaged(uri):
        return pq.read_table(path, columns=wanted, filesystem=fs, filters=[(column, ">=", low), (column, "<", high)])
