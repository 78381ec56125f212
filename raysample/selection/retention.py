"""What a selection keeps of classes, groups and lengths, compared with the rows it selected from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysample.data.score_table import GROUP_COLUMN, ScoreTable
from raysample.selection.result import KEPT, Selection

BANDS = 4
MAX_RETENTION_GROUPS = 1 << 20
"""Number of groups above which group retention is not reported, to bound memory."""


@dataclass(frozen=True)
class Band:
    """Rows with `min_tokens` to `max_tokens` tokens: their number, and the number of kept ones."""

    min_tokens: int
    max_tokens: int
    rows: int
    kept: int


@dataclass(frozen=True)
class Retention:
    """Kept rows by length band and by group.

    Attributes:
        bands: up to four length bands of about equal size, shortest first; fewer if many rows have the same length.
        groups: (group, rows, kept) of the groups with the smallest kept share; empty if rows have no groups or there
            are more than MAX_RETENTION_GROUPS.
    """

    bands: tuple[Band, ...]
    groups: tuple[tuple[str, int, int], ...]


def retention(selection: Selection, table: ScoreTable, count: int = 5) -> Retention:
    """Return the retention of a selection, from one pass over the table and the selection."""
    sizes, groups = Tally(), Tally() if table.grouped else None
    base = ("tokens", GROUP_COLUMN) if table.grouped else ("tokens",)
    for scores, chosen in zip(table.read((), base), selection.read(("decision",)), strict=True):
        kept = pc.equal(chosen["decision"], KEPT)
        sizes.add(scores["tokens"], kept)
        if groups is not None:
            groups.add(scores[GROUP_COLUMN], kept)
            groups = groups if len(groups.rows) <= MAX_RETENTION_GROUPS else None
    return Retention(_bands(sizes), _least(groups, count) if groups is not None else ())


class Tally:
    """Counts of rows and of kept rows, by value."""

    def __init__(self) -> None:
        self.rows, self.kept = Counter[Any](), Counter[Any]()

    def add(self, values: pa.ChunkedArray, kept: pa.ChunkedArray) -> None:
        """Count the values of one part; nulls are ignored."""
        for counter, some in ((self.rows, values), (self.kept, values.filter(kept))):
            for found in some.drop_null().value_counts().to_pylist():
                counter[found["values"]] += found["counts"]


def _bands(sizes: Tally) -> tuple[Band, ...]:
    """Cut the lengths into bands with about equal numbers of rows."""
    names = sorted(sizes.rows)
    running = np.cumsum([sizes.rows[size] for size in names])
    band = np.minimum((running - 1) * BANDS // max(1, running[-1]), BANDS - 1) if names else np.zeros(0, int)
    bands = []
    for number in np.unique(band):
        sizes_here = [size for size, place in zip(names, band, strict=True) if place == number]
        rows, kept = (sum(counter[size] for size in sizes_here) for counter in (sizes.rows, sizes.kept))
        bands.append(Band(sizes_here[0], sizes_here[-1], rows, kept))
    return tuple(bands)


def _least(groups: Tally, count: int) -> tuple[tuple[str, int, int], ...]:
    """Return the groups with the smallest kept share; of equal shares, the largest group first."""
    order = sorted(groups.rows, key=lambda name: (groups.kept[name] / groups.rows[name], -groups.rows[name], name))
    return tuple((name, groups.rows[name], groups.kept[name]) for name in order[:count])


def smallest(selection: Selection, count: int = 5) -> tuple[tuple[str, int, int], ...]:
    """Return (class, rows, kept) of the classes with the fewest kept rows, among classes with any row."""
    present = [c for c, rows in enumerate(selection.class_counts) if rows]
    order = sorted(present, key=lambda c: (selection.kept_class_counts[c], selection.class_counts[c]))[:count]
    return tuple((selection.labels[c], selection.class_counts[c], selection.kept_class_counts[c]) for c in order)
