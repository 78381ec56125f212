"""Statistics of a score table: those of one part, their merge, and the queries of a reader."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from raysample.core.numerics.exact_totals import exact_totals, rounded_correlation
from raysample.core.statistics.cells import TOKENS, Cells
from raysample.core.statistics.distribution import Distribution

MAX_GROUPS = 1_000
AT_A_TIME = 16
SUMMARY_QUANTILES = {"q05": 0.05, "median": 0.5, "q95": 0.95}


@dataclass(frozen=True, eq=False)
class Statistics:
    """Counts, moments and histograms of each score, by class and by group.

    All of it is mergeable: counts, extremes, moments and correlations are exact, quantiles are within a bin of 1/128 of
    the value, and neither the order of the rows nor their division into shards changes anything.

    Attributes:
        scores: the score columns. Beside them there is a column `tokens`.
        classes: by label number; classes without rows are left out.
        groups: by name; None if the corpus has none, or more than 1,000. Rows without a group are in no group.
        grouped: whether the corpus has groups.
        products: Σxy of each pair of scores, in the order of `itertools.combinations`, in the unit of `exact_totals`.
        shards: number of scored shards.
        reasons: quarantine reason -> number of rows.
        milliseconds: workers' time, summed over shards.
        labels: class names.
    """

    scores: tuple[str, ...]
    classes: Cells
    groups: Cells | None
    grouped: bool
    products: tuple[int, ...]
    shards: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    milliseconds: int = 0
    labels: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Scored rows."""
        return int(self.classes.rows.sum())

    @property
    def quarantined(self) -> int:
        """Quarantined rows."""
        return sum(self.reasons.values())

    @property
    def seconds(self) -> float:
        """Seconds of workers' time, reading and writing included."""
        return self.milliseconds / 1000

    @property
    def rows_per_second(self) -> float:
        """Rows per second of one worker; NaN if no time was recorded."""
        return (self.rows + self.quarantined) / self.seconds if self.milliseconds else float("nan")

    @cached_property
    def _whole(self) -> Cells:
        """All classes as one cell."""
        return self.classes.whole()

    def overall(self, column: str) -> Distribution:
        """Return a column, a score or `tokens`, over all rows.

        Raises KeyError for an unknown column or without rows.
        """
        return self._whole.distribution(0, column)

    def of_class(self, label: int, column: str) -> Distribution:
        """Return a column over the rows of a class; raises KeyError if the class has no rows."""
        return self.classes.distribution(label, column)

    def of_group(self, name: str, column: str) -> Distribution:
        """Return a column over the rows of a group; raises KeyError for an unknown group, or too many groups."""
        if self.groups is None:
            raise KeyError(name)
        return self.groups.distribution(name, column)

    def correlation(self, a: str, b: str) -> float:
        """Return Pearson's correlation of two columns over all rows; NaN if one is constant."""
        one, other = self.overall(a), self.overall(b)
        if TOKENS in (a, b):
            return (other if a == TOKENS else one).length_correlation(one if a == TOKENS else other)
        pairs = list(itertools.combinations(self.scores, 2))
        place = tuple(sorted((a, b), key=self.scores.index))
        both = one.squares if a == b else self.products[pairs.index((place[0], place[1]))]
        return rounded_correlation(one.total, other.total, one.squares, other.squares, both, self.rows)

    def to_pandas(self, by: Literal["class", "group"] = "class") -> pd.DataFrame:
        """Return one line per class (or group) and column: rows, mean, deviation, extremes, quantiles, correlation.

        The correlation is Pearson's, with the token count. Empty if there are no groups, or too many.
        """
        cells = self.classes if by == "class" else self.groups
        lines = [] if cells is None else [_line(cells, key, name) for key in cells.keys for name in cells.columns]
        heads = (by, "column", "rows", "mean", "deviation", "low", *SUMMARY_QUANTILES, "high", "length_correlation")
        frame = pd.DataFrame(lines, columns=list(heads))
        if by == "class" and self.labels:
            frame["class"] = [self.labels[label] for label in frame["class"]]
        return frame


def _line(cells: Cells, key: int | str, name: str) -> tuple[object, ...]:
    """Return the line of one cell and column for `to_pandas`."""
    found = cells.distribution(key, name)
    quantiles = found.quantiles(list(SUMMARY_QUANTILES.values()))
    length = found.length_correlation(cells.distribution(key, TOKENS))
    return (key, name, found.rows, found.mean, found.deviation, found.low, *quantiles, found.high, length)


def nothing(scores: Sequence[str], grouped: bool) -> Statistics:
    """Return the statistics of no shard, the neutral element of the merge."""
    none = Cells.counted((), np.zeros(0, np.int64), {name: np.zeros(0, np.float32) for name in (TOKENS, *scores)})
    pairs = len(scores) * (len(scores) - 1) // 2
    return Statistics(tuple(scores), none, none if grouped else None, grouped, (0,) * pairs)


def count_part(
    part: pa.Table, scores: Sequence[str], *, seconds: float = 0.0, reasons: Mapping[str, int] | None = None
) -> Statistics:
    """Count one part.

    Columns `label`, `tokens`, the finite scores, and optionally `group`. A pure function of its rows.

    Args:
        part: the rows. scores: the score columns.
        seconds: time of scoring them. reasons: quarantine reason -> number of other rows of the shard.
    """
    columns = {name: part[name].to_numpy().astype(np.float32) for name in (TOKENS, *scores)}
    labels, place = np.unique(part["label"].to_numpy(), return_inverse=True)
    exact = {name: columns[name].astype(np.float64) for name in scores}
    one = np.zeros(part.num_rows, np.int64)
    return Statistics(
        tuple(scores),
        Cells.counted(labels.tolist(), place.astype(np.int64), columns),
        _groups(part, columns) if "group" in part.column_names else None,
        "group" in part.column_names,
        tuple(exact_totals(exact[a] * exact[b], one, 1)[0] for a, b in itertools.combinations(scores, 2)),
        1,
        dict(reasons or {}),
        round(1000 * seconds),
    )


def _groups(part: pa.Table, columns: Mapping[str, np.ndarray]) -> Cells | None:
    """Count the columns by group; None for more than MAX_GROUPS groups."""
    known = np.flatnonzero(pc.is_valid(part["group"]).to_numpy())
    names = part["group"].take(pa.array(known)).combine_chunks().dictionary_encode()
    keys = names.dictionary.to_pylist()
    if len(keys) > MAX_GROUPS:
        return None
    order = sorted(range(len(keys)), key=keys.__getitem__)
    rank = np.empty(len(keys), np.int64)
    rank[order] = np.arange(len(keys))
    place = rank[names.indices.to_numpy(zero_copy_only=False)]
    return Cells.counted([keys[at] for at in order], place, {name: values[known] for name, values in columns.items()})


def merge_statistics(parts: Iterable[Statistics], start: Statistics) -> Statistics:
    """Add the statistics of several parts to `start`, AT_A_TIME at a time."""
    total, left = start, iter(parts)
    while some := list(itertools.islice(left, AT_A_TIME)):
        total = _merged([total, *some])
    return total


def _merged(parts: Sequence[Statistics]) -> Statistics:
    """Add the statistics of at least one part."""
    first, reasons = parts[0], Counter[str]()
    for part in parts:
        reasons.update(part.reasons)
    return Statistics(
        first.scores,
        Cells.merged([part.classes for part in parts]),
        _merged_groups([part.groups for part in parts]),
        first.grouped,
        tuple(map(sum, zip(*(part.products for part in parts), strict=True))),
        sum(part.shards for part in parts),
        dict(sorted(reasons.items())),
        sum(part.milliseconds for part in parts),
        first.labels,
    )


def _merged_groups(parts: Sequence[Cells | None]) -> Cells | None:
    """Add the groups of parts; None if one part has too many, or all together."""
    known = [cells for cells in parts if cells is not None]
    if len(known) < len(parts):
        return None
    together = Cells.merged(known)
    return None if len(together.keys) > MAX_GROUPS else together
