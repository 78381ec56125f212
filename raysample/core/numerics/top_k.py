"""The k best rows of every group, from mergeable parts: how a cap of few rows per group is found.

Memory grows with k times the number of groups, not with the rows. `radix` finds the same thresholds without holding
rows, but counts cells, and many small groups have as many cells as rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from raysample.core.arrays import IntArray, WordArray
from raysample.core.numerics.radix import Cut, Keys

PENDING_ROWS = 1 << 20


@dataclass(frozen=True, eq=False)
class Tops:
    """Groups, rising, with their rows [G]; and the best rows, by group, best first: group, key and tie [m]."""

    groups: IntArray
    rows: IntArray
    group: IntArray
    key: Keys
    tie: WordArray


def tops(group: IntArray, key: Keys, tie: WordArray, most: int) -> Tops:
    """Take the `most` best rows of each group from one part, [n] each; equal keys go by the tie word."""
    groups, rows = np.unique(group, return_counts=True)
    return Tops(groups, rows.astype(np.int64), *_best(group, key, tie, most))


def with_free(found: Tops, free: int, rows: int) -> Tops:
    """Add the group `free`, which sorts before all others and holds no rows."""
    groups, counts = np.r_[np.int64(free), found.groups], np.r_[np.int64(rows), found.rows]
    return Tops(groups, counts, found.group, found.key, found.tie)


def _best(group: IntArray, key: Keys, tie: WordArray, most: int) -> tuple[IntArray, Keys, WordArray]:
    """Return (group, key, tie) of the `most` best rows of each group, by group, best first."""
    order = _order(group, key, tie)
    sorted_group = group[order]
    first = np.flatnonzero(np.r_[True, np.diff(sorted_group) != 0]) if len(order) else np.zeros(0, np.int64)
    rank = np.arange(len(order)) - np.repeat(first, np.diff(np.r_[first, len(order)]))
    order = order[rank < most]
    return group[order], key[order], tie[order]


def _order(group: IntArray, key: Keys, tie: WordArray) -> IntArray:
    """Return the order by group, then by falling key and tie.

    Sorts by one 64-bit word first: the key and the upper half of the tie word. Only if two rows of a group share that
    word, the full words are sorted.
    """
    word = ~(key.astype(np.uint64) << np.uint64(32) | tie >> np.uint64(32))
    order = np.argsort(word)  # then a stable sort by group: faster than np.lexsort
    order = order[np.argsort(group[order], kind="stable")]
    again = (np.diff(group[order]) == 0) & (np.diff(word[order]) == 0)
    return np.lexsort((~tie, ~key, group)) if again.any() else order


def merge_top_k(parts: Iterable[Tops], most: int, limit: int) -> Tops:
    """Merge parts, many at a time; raises ValueError if more than `limit` rows would be held."""
    total, pending, waiting = _merged([], most), list[Tops](), 0
    for part in parts:
        pending.append(part)
        waiting += len(part.group) + len(part.groups)
        if waiting > max(PENDING_ROWS, len(total.group)):  # doubling: a row is sorted at most log n times
            total, pending, waiting = _merged([total, *pending], most), [], 0
            if len(total.group) > limit:
                raise ValueError(f"{len(total.group):,} rows of {len(total.groups):,} groups")
    return _merged([total, *pending], most)


def _merged(parts: list[Tops], most: int) -> Tops:
    """Merge parts into one with the `most` best rows of each group."""
    group, rows, among = (
        np.concatenate([np.zeros(0, np.int64), *(getattr(part, name) for part in parts)])
        for name in ("groups", "rows", "group")
    )
    key = np.concatenate([np.zeros(0, np.uint32), *(part.key for part in parts)])
    tie = np.concatenate([np.zeros(0, np.uint64), *(part.tie for part in parts)])
    groups, place = np.unique(group, return_inverse=True)
    total = np.zeros(len(groups), np.int64)
    np.add.at(total, place, rows)
    return Tops(groups, total, *_best(among, key, tie, most))


def cut(found: Tops, most: int, free: int) -> Cut:
    """Return the settled cut that keeps `most` rows of each group, and all rows of the group `free`."""
    quota = np.where(found.groups == free, found.rows, np.minimum(found.rows, most))
    inner = quota < found.rows
    last = np.searchsorted(found.group, found.groups[inner], side="right") - 1
    key, tie = np.zeros(len(quota), np.uint32), np.zeros(len(quota), np.uint64)
    key[inner], tie[inner] = found.key[last], found.tie[last]
    done = np.zeros(len(quota), bool)
    return Cut(found.groups, found.rows, quota, key, tie, found.rows, quota, done)
