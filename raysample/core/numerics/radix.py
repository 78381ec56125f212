"""The exact k-th largest of each group, from mergeable histograms: no sort, no shuffle, memory groups x bins.

A row's rank is a 96-bit word: its float32 key in an order-preserving integer form (32 bits), then a tie word (64 bits).
Each round counts the rows of every group by the next 16 bits, among those that share the bits found so far. Counts are
integers, so neither the order of the rows nor their division into parts can change the result. Two rounds find the k-th
key itself; only groups with more rows at the k-th key than may be kept need rounds on the tie word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import IntArray, WordArray

BITS = 16
HISTOGRAM_BINS = 1 << BITS
KEY_ROUNDS = 2
TOTAL_ROUNDS = 6
DENSE_CELLS = 1 << 22
PENDING_CELLS = 1 << 20
ABOVE_EVERY_KEY = np.uint32(0xFFFFFFFF)  # above every key: the image of a NaN, which no row may have


Keys = npt.NDArray[np.uint32]


def ordered(key: npt.NDArray[np.float32]) -> Keys:
    """Map floats to integers of the same order, -inf first, -0.0 equal to 0.0; NaN must not come."""
    bits = (np.asarray(key, dtype=np.float32) + np.float32(0)).view(np.uint32)
    return np.where(bits >> 31 == 1, ~bits, bits | np.uint32(0x80000000))


def restored(word: Keys) -> npt.NDArray[np.float32]:
    """Invert `ordered`."""
    bits = np.where(word >> 31 == 1, word & np.uint32(0x7FFFFFFF), ~word)
    return bits.astype(np.uint32).view(np.float32)


def splitmix64(x: WordArray) -> WordArray:
    """Mix 64 bits, one to one (the output function of Steele, Lea and Flood's SplitMix, OOPSLA 2014)."""
    z = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def seeded(identity: WordArray, seed: int) -> WordArray:
    """Return a random 64-bit word per identity: different identities never share one, seeds give unrelated orders."""
    salt = splitmix64(np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64))
    return splitmix64(identity ^ salt)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Sparse counts, sorted by (group, digit): group [m] int64, digit [m] int64 in [0, 2^16), count [m] int64 > 0."""

    group: IntArray
    digit: IntArray
    count: IntArray


def count_digits(group: IntArray, digit: IntArray) -> Histogram:
    """Count rows by (group, digit), both [n]."""
    if not group.size:
        return Histogram(group, digit, np.zeros(0, np.int64))
    names, place = _places(group)
    cell = place * HISTOGRAM_BINS + digit
    # A dense array costs no sort; beyond a few million cells a sort of the rows is cheaper.
    if len(names) * HISTOGRAM_BINS <= DENSE_CELLS:
        dense = np.bincount(cell)
        cells = np.flatnonzero(dense)
        counts = dense[cells]
    else:
        cells, counts = np.unique(cell, return_counts=True)
    return Histogram(names[cells // HISTOGRAM_BINS], cells % HISTOGRAM_BINS, counts.astype(np.int64))


def _places(group: IntArray) -> tuple[IntArray, IntArray]:
    """Return the distinct groups, rising, and the position of each row's group among them."""
    low, high = int(group.min()), int(group.max())
    if high - low >= HISTOGRAM_BINS:
        names, place = np.unique(group, return_inverse=True)
        return names, place.astype(np.int64)
    present = np.bincount(group - low) > 0
    return np.flatnonzero(present) + low, (np.cumsum(present) - 1)[group - low]


def merge_histograms(parts: Iterable[Histogram]) -> Histogram:
    """Add the histograms of several parts of the data, holding about a million pending cells at most."""
    pending, cells = [], 0
    for part in parts:
        pending.append(part)
        cells += len(part.count)
        if cells > PENDING_CELLS:
            pending, cells = [_merged(pending)], 0
    return _merged(pending)


def _merged(parts: list[Histogram]) -> Histogram:
    """Add histograms: sort the cells by (group, digit), then sum equal ones."""
    names = ("group", "digit", "count")
    group, digit, count = (
        np.concatenate([np.zeros(0, np.int64), *(getattr(part, name) for part in parts)]) for name in names
    )
    if not group.size:
        return Histogram(group, digit, count)
    order = np.lexsort((digit, group))
    group, digit, count = group[order], digit[order], count[order]
    first = np.flatnonzero(np.r_[True, (np.diff(group) != 0) | (np.diff(digit) != 0)])
    return Histogram(group[first], digit[first], np.add.reduceat(count, first))


def totals(histogram: Histogram) -> tuple[IntArray, IntArray]:
    """Return the groups of a histogram, rising, and the number of rows of each."""
    groups, first = np.unique(histogram.group, return_index=True)
    return groups, np.add.reduceat(histogram.count, first) if len(first) else groups


@dataclass(frozen=True, eq=False)
class Cut:
    """Per group, sorted by its number: the threshold as far as it is known. All arrays [S].

    Attributes:
        groups, rows, quota: which group, how many rows it has and how many of them are kept.
        key, tie: the threshold's bits; a row is kept when its (key, tie) is not below them.
        inside: rows whose bits equal the threshold's in the rounds done; `need`: how many of those are kept.
        unsettled: whether the next round must look deeper. rounds: rounds done.
    """

    groups: IntArray
    rows: IntArray
    quota: IntArray
    key: Keys
    tie: WordArray
    inside: IntArray
    need: IntArray
    unsettled: npt.NDArray[np.bool_]
    rounds: int = 0

    @property
    def settled(self) -> bool:
        """Whether every group's threshold is known."""
        return not self.unsettled.any()


def initial_cut(groups: IntArray, rows: IntArray, quota: IntArray) -> Cut:
    """Return the cut before the first round.

    Groups that keep all or no rows are settled (threshold 0, or above every key).
    """
    none = (quota == 0) & (rows > 0)
    key = np.where(none, ABOVE_EVERY_KEY, np.uint32(0)).astype(np.uint32)
    return Cut(groups, rows, quota, key, np.zeros(len(groups), np.uint64), rows, quota, (quota > 0) & (quota < rows))


def next_round_digits(cut: Cut, group: IntArray, key: Keys, tie: WordArray) -> tuple[IntArray, IntArray]:
    """Return (group, digit) of what the next round counts: rows that share an unsettled threshold's bits so far."""
    place = _locate(cut, group)
    among = cut.unsettled[place]
    # Candidates share the digits found so far: after round 1 the upper half of the key, then the whole key, then also
    # the leading digits of the tie word.
    if cut.rounds >= 1:
        shift = np.uint32(BITS if cut.rounds == 1 else 0)
        among &= key >> shift == cut.key[place] >> shift
    if cut.rounds > KEY_ROUNDS:
        below = np.uint64(64 - BITS * (cut.rounds - KEY_ROUNDS))
        among &= tie >> below == cut.tie[place] >> below
    return group[among], digit_of(key[among], tie[among], cut.rounds)


def level(cut: Cut, group: IntArray, key: Keys) -> npt.NDArray[np.bool_]:
    """Return which rows [n] have the full key of an unsettled threshold, so that their tie words matter."""
    place = _locate(cut, group)
    return np.asarray(cut.unsettled[place] & (key == cut.key[place]))


def digit_of(key: Keys, tie: WordArray, number: int) -> IntArray:
    """Return the 16-bit digit number 0..5 of the 96-bit words, most significant first."""
    if number < KEY_ROUNDS:
        return (key >> np.uint32(BITS * (1 - number)) & np.uint32(HISTOGRAM_BINS - 1)).astype(np.int64)
    return (tie >> np.uint64(BITS * (TOTAL_ROUNDS - 1 - number)) & np.uint64(HISTOGRAM_BINS - 1)).astype(np.int64)


def _locate(cut: Cut, group: IntArray) -> IntArray:
    """Return the position in the cut of each row's group."""
    if len(cut.groups) == 1:
        return np.zeros(len(group), np.int64)
    return np.minimum(np.searchsorted(cut.groups, group), len(cut.groups) - 1).astype(np.int64)


def advance(cut: Cut, histogram: Histogram) -> Cut:
    """Fix the next digit of every unsettled threshold from the counts of its candidates.

    Raises ValueError when the counts are not those of the rows counted before: the data changed between two rounds.
    """
    # Arrays are reversed to falling groups and digits: the k-th largest key is found from the top down.
    place = np.flatnonzero(cut.unsettled)
    use = np.isin(histogram.group, cut.groups[place])
    group, digit, count = histogram.group[use][::-1], histogram.digit[use][::-1], histogram.count[use][::-1]
    found, sizes = totals(Histogram(group[::-1], digit[::-1], count[::-1]))
    if not np.array_equal(found, cut.groups[place]) or not np.array_equal(sizes, cut.inside[place]):
        raise ValueError("the counts of two rounds differ")
    first = np.flatnonzero(np.r_[True, np.diff(group) != 0])  # groups falling, digits falling inside each
    need = cut.need[place][::-1]
    running = np.cumsum(count)
    before = np.r_[0, running][first]
    per_group = np.diff(np.r_[first, len(group)])
    # Per group: `short` marks the digits whose cumulative count is still below `need`; the threshold has the next
    # digit.
    short = running - np.repeat(before, per_group) < np.repeat(need, per_group)
    hit = first + np.add.reduceat(short.astype(np.int64), first)
    # Rows above that digit are kept; `left` rows remain to be chosen among those that have it.
    left = need - (running[hit] - count[hit] - before)
    return _fixed(cut, place, digit[hit][::-1], count[hit][::-1], left[::-1])


def _fixed(cut: Cut, place: IntArray, digit: IntArray, inside: IntArray, need: IntArray) -> Cut:
    """Return the cut with one more digit of the thresholds at `place`."""
    key, tie, all_inside, all_need = cut.key.copy(), cut.tie.copy(), cut.inside.copy(), cut.need.copy()
    unsettled = cut.unsettled.copy()
    if cut.rounds < KEY_ROUNDS:
        key[place] |= digit.astype(np.uint32) << np.uint32(BITS * (1 - cut.rounds))
    else:
        tie[place] |= digit.astype(np.uint64) << np.uint64(BITS * (TOTAL_ROUNDS - 1 - cut.rounds))
    all_inside[place], all_need[place] = inside, need
    # Settled if all rows that share the digits so far are kept: the remaining bits of the threshold stay 0. The key
    # itself is always completed: two rounds find the k-th key.
    unsettled[place] = (inside != need) | (cut.rounds + 1 < KEY_ROUNDS)
    return replace(cut, key=key, tie=tie, inside=all_inside, need=all_need, unsettled=unsettled, rounds=cut.rounds + 1)


def kept(cut: Cut, place: IntArray, key: Keys, ties: Callable[[IntArray], WordArray]) -> npt.NDArray[np.bool_]:
    """Return which rows [n] are at or above the threshold of the group at `place` in the cut.

    `ties` returns the tie words of rows by position; it is called for rows with a key equal to the threshold only.
    """
    edge = cut.key[place]
    above: npt.NDArray[np.bool_] = key > edge
    level = np.flatnonzero(key == edge)
    tie = cut.tie[place[level]]
    above[level] = ties(level) >= tie if tie.any() else True
    return above
