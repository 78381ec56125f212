"""What a selection leaves of classes, groups and lengths, against the rows it chose from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysample.data.score_table import GROUP, ScoreTable
from raysample.selection.result import KEPT, Selection

BANDS = 4
MOST_GROUPS = 1 << 20


@dataclass(frozen=True)
class Band:
    """Rows of `least` to `most` tokens: how many there are, and how many are kept."""

    least: int
    most: int
    rows: int
    kept: int


@dataclass(frozen=True)
class Retention:
    """What is left, part by part.

    Attributes:
        bands: four bands of length with about as many rows each, fewer where many rows are alike; shortest first.
        groups: (group, rows, kept) of the groups of which the smallest share is left; none where rows have no groups,
            or too many to hold.
    """

    bands: tuple[Band, ...]
    groups: tuple[tuple[str, int, int], ...]


def retention(selection: Selection, table: ScoreTable, count: int = 5) -> Retention:
    """Read a table beside a selection of it, once."""
    sizes, groups = Tally(), Tally() if table.grouped else None
    base = ("tokens", GROUP) if table.grouped else ("tokens",)
    for scores, chosen in zip(table.read((), base), selection.read(("decision",)), strict=True):
        kept = pc.equal(chosen["decision"], KEPT)
        sizes.add(scores["tokens"], kept)
        if groups is not None:
            groups.add(scores[GROUP], kept)
            groups = groups if len(groups.rows) <= MOST_GROUPS else None
    return Retention(_bands(sizes), _least(groups, count) if groups is not None else ())


class Tally:
    """Rows, and kept rows, by value."""

    def __init__(self) -> None:
        self.rows, self.kept = Counter[Any](), Counter[Any]()

    def add(self, values: pa.ChunkedArray, kept: pa.ChunkedArray) -> None:
        """Count the values of one part; null is no value."""
        for counter, some in ((self.rows, values), (self.kept, values.filter(kept))):
            for found in some.drop_null().value_counts().to_pylist():
                counter[found["values"]] += found["counts"]


def _bands(sizes: Tally) -> tuple[Band, ...]:
    names = sorted(sizes.rows)
    running = np.cumsum([sizes.rows[size] for size in names])
    band = np.minimum((running - 1) * BANDS // max(1, running[-1]), BANDS - 1) if names else np.zeros(0, int)
    found = []
    for number in np.unique(band):
        mine = [size for size, place in zip(names, band, strict=True) if place == number]
        rows, kept = (sum(counter[size] for size in mine) for counter in (sizes.rows, sizes.kept))
        found.append(Band(mine[0], mine[-1], rows, kept))
    return tuple(found)


def _least(groups: Tally, count: int) -> tuple[tuple[str, int, int], ...]:
    """Return the groups of which the smallest share is left, the largest of these first."""
    order = sorted(groups.rows, key=lambda name: (groups.kept[name] / groups.rows[name], -groups.rows[name], name))
    return tuple((name, groups.rows[name], groups.kept[name]) for name in order[:count])


def smallest(selection: Selection, count: int = 5) -> tuple[tuple[str, int, int], ...]:
    """Return (class, rows, kept) of the classes with the fewest kept rows, fewest first, of those that had any."""
    there = [c for c, rows in enumerate(selection.class_counts) if rows]
    order = sorted(there, key=lambda c: (selection.kept_class_counts[c], selection.class_counts[c]))[:count]
    return tuple((selection.labels[c], selection.class_counts[c], selection.kept_class_counts[c]) for c in order)
