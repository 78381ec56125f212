"""What a first look at the rows counts: classes, values that are no numbers, and what a policy must know of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from raysample.core.errors import SelectionError
from raysample.core.numerics import radix, ranks
from raysample.core.numerics.exact_moments import ExactSums, exact_sums, merge_sums, moments
from raysample.selection.policies.base import Anchor, FloatArray, GlobalStatistics, IntArray, Policy, Rows, WordArray

T = TypeVar("T")
Numbers = npt.NDArray[Any]
Extremes = tuple[FloatArray, FloatArray]


@dataclass(frozen=True, eq=False)
class Census:
    """Rows per class, [C], and values that are not finite per score column."""

    classes: IntArray
    non_finite: Mapping[str, int]

    @property
    def rows(self) -> int:
        """Rows in all."""
        return int(self.classes.sum())


def census(rows: Rows, columns: Sequence[str]) -> Census:
    """Count one part. Raises SelectionError for a negative label."""
    if len(rows) and rows.label.min() < 0:
        raise SelectionError(
            f"{int((rows.label < 0).sum())} rows have a negative label", "quarantine rows without a label"
        )
    non_finite = {name: int((~np.isfinite(rows.scores[name])).sum()) for name in columns}
    return Census(np.bincount(rows.label).astype(np.int64), non_finite)


def merge_censuses(parts: Iterable[Census]) -> Census:
    """Add the counts of all parts."""
    classes, non_finite = np.zeros(0, np.int64), dict[str, int]()
    for part in parts:
        classes = _longer(classes, part.classes, np.add, 0)
        non_finite = {name: n + non_finite.get(name, 0) for name, n in part.non_finite.items()}
    return Census(classes, non_finite)


def _longer(a: Numbers, b: Numbers, combine: np.ufunc, nothing: float) -> Numbers:
    """Combine two arrays, the shorter one filled up with what changes nothing."""
    width = max(len(a), len(b))
    both = (np.pad(values, (0, width - len(values)), constant_values=nothing) for values in (a, b))
    found: Numbers = combine(*both)
    return found


@dataclass(frozen=True, eq=False)
class Top:
    """The rows with the highest (or lowest) values of a column: the order's words, rising, and values of another."""

    word: npt.NDArray[np.uint32]
    identity: WordArray
    value: FloatArray

    @staticmethod
    def of(rows: Rows, anchor: Anchor) -> Top:
        """Take them from one part."""
        word = radix.ordered(rows.scores[anchor.by])
        word = ~word if anchor.highest else word
        return Top(word, rows.identity, rows.scores[anchor.of]).first(anchor.count)

    def first(self, count: int) -> Top:
        """Return the first of these rows; equal words go by the rows' identities."""
        order = np.lexsort((self.identity, self.word))[:count]
        return Top(self.word[order], self.identity[order], self.value[order])

    @staticmethod
    def merged(parts: Sequence[Top], anchor: Anchor) -> Top:
        """Take them from what several parts gave."""
        names = ("word", "identity", "value")
        return Top(*(np.concatenate([getattr(part, name) for part in parts]) for name in names)).first(anchor.count)


@dataclass(frozen=True, eq=False)
class Gathered:
    """What one part, or all of them, says about the wishes of a policy, by score column."""

    sums: Mapping[str, ExactSums] = field(default_factory=dict)
    extremes: Mapping[str, Extremes] = field(default_factory=dict)
    coarse: Mapping[str, ranks.Counts] = field(default_factory=dict)
    tops: Mapping[str, Top] = field(default_factory=dict)
    pairs: radix.Histogram | None = None


def wishes(policy: Policy) -> bool:
    """Tell whether a policy must know anything of all rows."""
    return policy.moments_over != "none" or bool(policy.ranked) or bool(policy.anchored) or policy.entropies


def gather(rows: Rows, policy: Policy) -> Gathered:
    """Look at one part."""
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
        {name: ranks.coarse(rows.scores[name]) for name in policy.ranked},
        {anchor.of: Top.of(rows, anchor) for anchor in policy.anchored},
        _pairs(rows) if policy.entropies else None,
    )


def _pairs(rows: Rows) -> radix.Histogram:
    """Count the rows of each class and group: `digit` is the group's code."""
    return radix.merge_histograms(
        [radix.Histogram(rows.label.astype(np.int64), rows.groups, np.ones(len(rows), np.int64))]
    )


def _extremes(values: FloatArray, group: npt.NDArray[np.integer], groups: int) -> Extremes:
    low, high = np.full(groups, np.inf, np.float32), np.full(groups, -np.inf, np.float32)
    np.fmin.at(low, group, values)
    np.fmax.at(high, group, values)
    return low, high


def merge_gathered(parts: Iterable[Gathered], policy: Policy) -> Gathered:
    """Put the looks at all parts together, a few at a time."""
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
    return [of[name]] if name in of else []


def _wider(a: Extremes | None, b: Extremes) -> Extremes:
    if a is None:
        return b
    return _longer(a[0], b[0], np.minimum, np.inf), _longer(a[1], b[1], np.maximum, -np.inf)


def facts(
    seen: Gathered, exactly: Mapping[str, ranks.Counts], *, seed: int, total: int, budget: int
) -> GlobalStatistics:
    """Return what a policy may know; `exactly` has the counts of crowded cells of the ranked columns."""
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

    The rank is the share of rows in classes of lower entropy, plus half of those in classes of the same.
    """
    rows = np.bincount(pairs.group, pairs.count)
    terms = pairs.count * np.log2(pairs.count)
    entropy = np.log2(np.maximum(rows, 1)) - np.bincount(pairs.group, terms) / np.maximum(rows, 1)
    entropy = np.where(rows > 0, np.round(np.maximum(entropy, 0), 12), np.inf)  # what rounding tells apart is the same
    levels, place = np.unique(entropy, return_inverse=True)
    at_level = np.bincount(place, rows, len(levels))
    ranks_of: npt.NDArray[np.float64] = ((np.cumsum(at_level) - at_level / 2) / max(1.0, rows.sum()))[place]
    return ranks_of
