"""Columns counted by class or by group, in mergeable form: equal for every order and division of the rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import Float32Array, IntArray
from raysample.core.numerics import radix
from raysample.core.numerics.exact_totals import exact_totals
from raysample.core.numerics.radix import Histogram
from raysample.core.statistics.distribution import Distribution, bins_of

CellKey: TypeAlias = int | str


TOKENS = "tokens"


@dataclass(frozen=True, eq=False)
class Column:
    """One column over K cells: arrays and tuples [K] as in `Distribution`.

    The histogram's groups are cell positions.
    """

    low: Float32Array
    high: Float32Array
    whole: npt.NDArray[np.bool_]
    total: tuple[int, ...]
    squares: tuple[int, ...]
    lengths: tuple[int, ...]
    histogram: Histogram


@dataclass(frozen=True, eq=False)
class Cells:
    """K classes (by number) or groups (by name), rising, with their row counts [K] and columns, `tokens` among them."""

    keys: tuple[CellKey, ...]
    rows: IntArray
    columns: Mapping[str, Column]

    @staticmethod
    def counted(keys: Sequence[CellKey], place: IntArray, columns: Mapping[str, Float32Array]) -> Cells:
        """Count finite columns [n] by cell `place` [n] in `keys`, which are rising and none of which is empty."""
        tokens = columns[TOKENS].astype(np.float64)
        found = {name: _counted(values, tokens, place, len(keys)) for name, values in columns.items()}
        return Cells(tuple(keys), np.bincount(place, minlength=len(keys)).astype(np.int64), found)

    @staticmethod
    def merged(parts: Sequence[Cells]) -> Cells:
        """Add the cells of at least one part; all parts have the same columns."""
        keys = sorted({key for part in parts for key in part.keys}, key=_order)
        at = {key: place for place, key in enumerate(keys)}
        places = [np.array([at[key] for key in part.keys], np.int64) for part in parts]
        rows = np.zeros(len(keys), np.int64)
        for place, part in zip(places, parts, strict=True):
            rows[place] += part.rows
        columns = {
            name: _added([(place, part.columns[name]) for place, part in zip(places, parts, strict=True)], len(keys))
            for name in parts[0].columns
        }
        return Cells(tuple(keys), rows, columns)

    def whole(self) -> Cells:
        """Return all cells as one, of key 0."""
        if not self.keys:
            return self
        one = np.zeros(len(self.keys), np.int64)
        columns = {name: _added([(one, column)], 1) for name, column in self.columns.items()}
        return Cells((0,), np.array([self.rows.sum()]), columns)

    def distribution(self, key: CellKey, name: str) -> Distribution:
        """Return one column of one cell; raises KeyError for an unknown key or column."""
        if key not in self.keys:
            raise KeyError(key)
        place, column = self.keys.index(key), self.columns[name]
        first, last = np.searchsorted(column.histogram.group, [place, place + 1])
        return Distribution(
            int(self.rows[place]),
            float(column.low[place]),
            float(column.high[place]),
            bool(column.whole[place]),
            column.total[place],
            column.squares[place],
            column.lengths[place],
            column.histogram.digit[first:last],
            column.histogram.count[first:last],
        )


def _order(key: CellKey) -> tuple[int, str]:
    """Return the sort key of a class number or a group name."""
    return (key, "") if isinstance(key, int) else (0, key)


def _counted(values: Float32Array, tokens: npt.NDArray[np.float64], place: IntArray, cells: int) -> Column:
    """Count one column by cell: extremes, exact sums and histogram."""
    exact = values.astype(np.float64)
    low, high = _extremes([(place, values, values)], cells)
    whole = np.ones(cells, np.bool_)
    whole[place[values != np.floor(values)]] = False
    total, squares, lengths = (exact_totals(one, place, cells) for one in (exact, exact * exact, exact * tokens))
    cell, count = np.unique(place * radix.HISTOGRAM_BINS + bins_of(values), return_counts=True)
    return Column(
        low,
        high,
        whole,
        total,
        squares,
        lengths,
        Histogram(cell // radix.HISTOGRAM_BINS, cell % radix.HISTOGRAM_BINS, count),
    )


def _extremes(
    parts: Iterable[tuple[IntArray, Float32Array, Float32Array]], cells: int
) -> tuple[Float32Array, Float32Array]:
    """Return the smallest and largest value of each cell, float32 [cells]."""
    low, high = np.full(cells, np.inf, np.float32), np.full(cells, -np.inf, np.float32)
    for place, lows, highs in parts:
        np.minimum.at(low, place, lows)
        np.maximum.at(high, place, highs)
    return low, high


def _added(parts: Sequence[tuple[IntArray, Column]], cells: int) -> Column:
    """Add columns of several parts, whose cells move to the positions `place`."""
    whole = np.ones(cells, np.bool_)
    for place, column in parts:
        np.logical_and.at(whole, place, column.whole)
    mine = [(place, column.histogram) for place, column in parts]
    return Column(
        *_extremes([(place, column.low, column.high) for place, column in parts], cells),
        whole,
        _sums([(place, column.total) for place, column in parts], cells),
        _sums([(place, column.squares) for place, column in parts], cells),
        _sums([(place, column.lengths) for place, column in parts], cells),
        radix.merge_histograms([Histogram(place[found.group], found.digit, found.count) for place, found in mine]),
    )


def _sums(parts: Iterable[tuple[IntArray, tuple[int, ...]]], cells: int) -> tuple[int, ...]:
    """Add exact sums of several parts by cell position."""
    total = [0] * cells
    for place, values in parts:
        for at, value in zip(place.tolist(), values, strict=True):
            total[at] += value
    return tuple(total)
