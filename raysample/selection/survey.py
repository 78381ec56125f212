"""The first counting pass: rows per class, values that are not finite, and the statistics that policies need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import Float32Array, IntArray, WordArray
from raysample.core.errors import SelectionError
from raysample.core.numerics import radix, ranks
from raysample.core.numerics.exact_moments import ExactSums, exact_sums, merge_sums, moments
from raysample.selection.policies.base import Anchor, GlobalStatistics, Policy, Rows

T = TypeVar("T")
Numbers = npt.NDArray[Any]
Extremes = tuple[Float32Array, Float32Array]


@dataclass(frozen=True, eq=False)
class Census:
    """Rows per class, [C], and the number of values that are not finite per score column."""

    classes: IntArray
    non_finite: Mapping[str, int]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.classes.sum())


def census(rows: Rows, columns: Sequence[str]) -> Census:
    """Return one part's counts. Raises SelectionError for a negative label or a missing score column."""
    missing = [name for name in columns if name not in rows.scores]
    if missing:
        raise SelectionError(
            f"the rows have no score column {missing[0]!r}; they have {', '.join(rows.scores) or 'none'}",
            "give the rows this column, or let the policy go by one of those",
        )
    if len(rows) and rows.label.min() < 0:
        raise SelectionError(
            f"{int((rows.label < 0).sum())} rows have a negative label", "quarantine rows without a label"
        )
    non_finite = {name: int((~np.isfinite(rows.scores[name])).sum()) for name in columns}
    return Census(np.bincount(rows.label).astype(np.int64), non_finite)


def merge_censuses(parts: Iterable[Census]) -> Census:
    """Return the sum of the counts of all parts."""
    classes, non_finite = np.zeros(0, np.int64), dict[str, int]()
    for part in parts:
        classes = _longer(classes, part.classes, np.add, 0)
        non_finite = {name: n + non_finite.get(name, 0) for name, n in part.non_finite.items()}
    return Census(classes, non_finite)


def _longer(a: Numbers, b: Numbers, combine: np.ufunc, nothing: float) -> Numbers:
    """Combine two arrays element-wise, the shorter one padded with the neutral element `nothing`."""
    width = max(len(a), len(b))
    both = (np.pad(values, (0, width - len(values)), constant_values=nothing) for values in (a, b))
    result: Numbers = combine(*both)
    return result


@dataclass(frozen=True, eq=False)
class Top:
    """The `count` rows with the highest (or lowest) values of one column, and their values of another.

    Attributes:
        word: [n] uint32, order-preserving words of the first column, rising from the best.
        identity: [n] uint64, row id hashes, which break ties.
        value: [n] float32, the second column.
    """

    word: npt.NDArray[np.uint32]
    identity: WordArray
    value: Float32Array

    @staticmethod
    def from_rows(rows: Rows, anchor: Anchor) -> Top:
        """Return the best rows of one part."""
        # Integer words compare exactly like the floats, so that the order is the same on every machine.
        word = radix.ordered(rows.scores[anchor.by])
        word = ~word if anchor.highest else word
        return Top(word, rows.identity, rows.scores[anchor.of]).first(anchor.count)

    def first(self, count: int) -> Top:
        """Return the first `count` of these rows, ties broken by row identity."""
        order = np.lexsort((self.identity, self.word))[:count]
        return Top(self.word[order], self.identity[order], self.value[order])

    @staticmethod
    def merged(parts: Sequence[Top], anchor: Anchor) -> Top:
        """Return the best rows over several parts."""
        names = ("word", "identity", "value")
        return Top(*(np.concatenate([getattr(part, name) for part in parts]) for name in names)).first(anchor.count)


@dataclass(frozen=True, eq=False)
class Gathered:
    """The statistics that a policy needs, of one part or of all, by score column.

    Attributes:
        sums: exact sums for moments; extremes: minima and maxima per class.
        coarse: counts by the upper bits of the value, for ranks.
        tops: the best rows of each anchor.
        pairs: rows per class and group, for entropies.
    """

    sums: Mapping[str, ExactSums] = field(default_factory=dict)
    extremes: Mapping[str, Extremes] = field(default_factory=dict)
    coarse: Mapping[str, ranks.RankCounts] = field(default_factory=dict)
    tops: Mapping[str, Top] = field(default_factory=dict)
    pairs: radix.Histogram | None = None


def needs_statistics(policy: Policy) -> bool:
    """Return whether a policy needs statistics over all rows."""
    return policy.moments_over != "none" or bool(policy.ranked) or bool(policy.anchored) or policy.entropies


def gather(rows: Rows, policy: Policy) -> Gathered:
    """Return the statistics that a policy needs of one part."""
    sums, extremes = dict[str, ExactSums](), dict[str, Extremes]()
    if policy.moments_over != "none":
        group = rows.label if policy.moments_over == "class" else np.zeros(len(rows), np.int32)
        groups = int(group.max()) + 1 if len(rows) else 0
        sums = {name: exact_sums(rows.scores[name], group, groups) for name in policy.columns}
        if policy.extremes:
            extremes = {name: _extremes(rows.scores[name], group, groups) for name in policy.columns}
    return Gathered(
        sums,
        extremes,
        {name: ranks.coarse(rows.scores[name], rank_group(rows, policy)) for name in policy.ranked},
        {anchor.of: Top.from_rows(rows, anchor) for anchor in policy.anchored},
        _pairs(rows) if policy.entropies else None,
    )


def rank_group(rows: Rows, policy: Policy) -> npt.NDArray[np.int32] | None:
    """Return the group in which each row is ranked, [n]: its class, or None if the corpus is one group."""
    return rows.label if policy.ranked_over == "class" else None


def _pairs(rows: Rows) -> radix.Histogram:
    """Count the rows of each class and group; `digit` is the group's code."""
    return radix.merge_histograms(
        [radix.Histogram(rows.label.astype(np.int64), rows.groups, np.ones(len(rows), np.int64))]
    )


def _extremes(values: Float32Array, group: npt.NDArray[np.integer], groups: int) -> Extremes:
    """Return the minimum and maximum of each group, ignoring NaN."""
    low, high = np.full(groups, np.inf, np.float32), np.full(groups, -np.inf, np.float32)
    np.fmin.at(low, group, values)
    np.fmax.at(high, group, values)
    return low, high


def merge_gathered(parts: Iterable[Gathered], policy: Policy) -> Gathered:
    """Merge the statistics of all parts, one part at a time: memory does not grow with the number of parts."""
    total = Gathered()
    for part in parts:
        total = Gathered(
            {name: merge_sums([*_known(total.sums, name), part.sums[name]]) for name in part.sums},
            {name: _wider(total.extremes.get(name), ends) for name, ends in part.extremes.items()},
            {name: ranks.merge_ranks([*_known(total.coarse, name), counts]) for name, counts in part.coarse.items()},
            {
                anchor.of: Top.merged([*_known(total.tops, anchor.of), part.tops[anchor.of]], anchor)
                for anchor in policy.anchored
            },
            None
            if part.pairs is None
            else radix.merge_histograms([part.pairs, *([total.pairs] if total.pairs else [])]),
        )
    return total


def _known(of: Mapping[str, T], name: str) -> list[T]:
    """Return the entry of a name as a list: empty if there is none."""
    return [of[name]] if name in of else []


def _wider(a: Extremes | None, b: Extremes) -> Extremes:
    """Return the element-wise minima and maxima of two pairs of extremes."""
    if a is None:
        return b
    return _longer(a[0], b[0], np.minimum, np.inf), _longer(a[1], b[1], np.maximum, -np.inf)


def facts(
    seen: Gathered, exactly: Mapping[str, ranks.RankCounts], *, seed: int, total: int, budget: int
) -> GlobalStatistics:
    """Return the statistics for a policy; `exactly` holds the exact counts in crowded cells of ranked columns."""
    return GlobalStatistics(
        seed,
        {name: moments(sums) for name, sums in seen.sums.items()},
        dict(seen.extremes),
        {name: ranks.Ranks.from_counts(counts, exactly[name]) for name, counts in seen.coarse.items()},
        {name: float(top.value.astype(np.float64).mean()) for name, top in seen.tops.items()},
        None if seen.pairs is None else class_ranks(seen.pairs),
        total=total,
        budget=budget,
    )


def class_ranks(pairs: radix.Histogram) -> npt.NDArray[np.float64]:
    """Return the rank of each class's rows by the entropy of its groups, [C]: H_c = −Σ_g p(g|c) log2 p(g|c).

    The rank is the share of rows in classes of lower entropy, plus half the share of rows in classes of equal entropy.
    """
    rows = np.bincount(pairs.group, pairs.count)
    terms = pairs.count * np.log2(pairs.count)
    entropy = np.log2(np.maximum(rows, 1)) - np.bincount(pairs.group, terms) / np.maximum(rows, 1)
    entropy = np.where(rows > 0, np.round(np.maximum(entropy, 0), 12), np.inf)
    levels, place = np.unique(entropy, return_inverse=True)
    at_level = np.bincount(place, rows, len(levels))
    ranks_of: npt.NDArray[np.float64] = ((np.cumsum(at_level) - at_level / 2) / max(1.0, rows.sum()))[place]
    return ranks_of
