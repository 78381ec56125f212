"""Statistics as a Parquet file: one line per class or group and column, the rest as JSON in the file's metadata."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from raysample.core import manifests, storage
from raysample.core.errors import StorageError
from raysample.core.numerics.exact_totals import pack_total, unpack_total
from raysample.core.numerics.radix import Histogram
from raysample.core.statistics.cells import TOKENS, CellKey, Cells, Column
from raysample.core.statistics.summary import Statistics

NOTES = b"raysample"
STATISTICS_SCHEMA = pa.schema(
    [
        ("label", pa.int32()),  # null for a group
        ("group", pa.string()),  # null for a class
        ("column", pa.string()),
        ("rows", pa.int64()),
        ("low", pa.float32()),
        ("high", pa.float32()),
        ("whole", pa.bool_()),
        ("total", pa.binary()),
        ("squares", pa.binary()),
        ("lengths", pa.binary()),
        ("bins", pa.list_(pa.uint16())),
        ("counts", pa.list_(pa.int64())),
    ]
)
_SUMS = ("total", "squares", "lengths")


def write_statistics_file(uri: str, statistics: Statistics, of: str = "") -> None:
    """Write statistics atomically; `of` is the fingerprint of the table that they describe."""
    kinds = [statistics.classes, *([] if statistics.groups is None else [statistics.groups])]
    lines = [_lines(cells, name) for cells in kinds for name in (TOKENS, *statistics.scores)]
    notes: dict[str, Any] = {
        "of": of,
        "scores": statistics.scores,
        "classes": len(statistics.classes.keys),
        "groups": None if statistics.groups is None else len(statistics.groups.keys),
        "grouped": statistics.grouped,
        "products": [pack_total(product).hex() for product in statistics.products],
        "shards": statistics.shards,
        "reasons": statistics.reasons,
        "milliseconds": statistics.milliseconds,
        "labels": statistics.labels,
    }
    whole = pa.concat_tables([STATISTICS_SCHEMA.empty_table(), *lines])
    storage.write_parquet(uri, whole.replace_schema_metadata({NOTES: json.dumps(notes)}))


def _lines(cells: Cells, name: str) -> pa.Table:
    """Return the lines of one column over all cells."""
    column, by_class = cells.columns[name], all(isinstance(key, int) for key in cells.keys)
    starts = np.searchsorted(column.histogram.group, np.arange(len(cells.keys) + 1))
    lists = [pa.array(starts.astype(np.int32))]
    data = {
        "label": pa.array(cells.keys if by_class else [None] * len(cells.keys), pa.int32()),
        "group": pa.array([None] * len(cells.keys) if by_class else cells.keys, pa.string()),
        "column": pa.array([name] * len(cells.keys), pa.string()),
        "rows": pa.array(cells.rows),
        "low": pa.array(column.low),
        "high": pa.array(column.high),
        "whole": pa.array(column.whole),
        **{part: pa.array([pack_total(value) for value in getattr(column, part)], pa.binary()) for part in _SUMS},
        "bins": pa.ListArray.from_arrays(*lists, pa.array(column.histogram.digit.astype(np.uint16))),
        "counts": pa.ListArray.from_arrays(*lists, pa.array(column.histogram.count)),
    }
    return pa.table(data, schema=STATISTICS_SCHEMA)


def read_statistics(uri: str) -> tuple[Statistics, str]:
    """Read statistics, and the fingerprint of their table; raises StorageError if missing or damaged."""
    table = storage.read_parquet(uri)
    try:
        notes = json.loads(table.schema.metadata[NOTES])
    except (TypeError, KeyError, ValueError) as error:
        raise StorageError(f"{uri!r} holds no statistics of scores", "delete it and score again") from error
    with manifests.damaged(uri):
        return _statistics(table, notes)


def _statistics(table: pa.Table, notes: dict[str, Any]) -> tuple[Statistics, str]:
    """Build statistics from the lines and the notes of a file."""
    scores, classes, groups = tuple(notes["scores"]), notes["classes"], notes["groups"]
    split = classes * (len(scores) + 1)
    found = Statistics(
        scores,
        _cells(table.slice(0, split), "label", classes, scores),
        None if groups is None else _cells(table.slice(split), "group", groups, scores),
        notes["grouped"],
        tuple(unpack_total(bytes.fromhex(product)) for product in notes["products"]),
        notes["shards"],
        notes["reasons"],
        notes["milliseconds"],
        tuple(notes["labels"]),
    )
    return found, notes["of"]


def _cells(lines: pa.Table, key: str, cells: int, scores: tuple[str, ...]) -> Cells:
    """Build cells from their lines, which are grouped by column."""
    keys: list[CellKey] = lines[key].slice(0, cells).to_pylist()
    rows = lines["rows"].slice(0, cells).to_numpy().astype(np.int64)
    names = (TOKENS, *scores)
    return Cells(tuple(keys), rows, {name: _column(lines.slice(i * cells, cells)) for i, name in enumerate(names)})


def _column(lines: pa.Table) -> Column:
    """Build one column from its lines."""
    bins, counts = (lines[name].combine_chunks() for name in ("bins", "counts"))
    group = np.repeat(np.arange(len(lines)), bins.value_lengths().to_numpy())
    total, squares, lengths = (tuple(map(unpack_total, lines[name].to_pylist())) for name in _SUMS)
    return Column(
        lines["low"].to_numpy(),
        lines["high"].to_numpy(),
        lines["whole"].to_numpy().astype(np.bool_),
        total,
        squares,
        lengths,
        Histogram(group, bins.flatten().to_numpy().astype(np.int64), counts.flatten().to_numpy()),
    )
