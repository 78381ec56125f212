"""The distribution function of float32 values, from counts that add up: equal for every order and division of the rows.

Values are counted by the leading 16 bits of their order-preserving form, and those of crowded cells by all 32 bits. The
rank of a value is the share of values below it, plus half of those in its cell. With a group per value (an integer from
0), every group has a distribution function of its own: the group stands in front of the 32 bits of the value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import AnyIntArray, IntArray
from raysample.core.numerics.radix import BITS, ordered

CROWDED = 1 << 12  # a cell with more than this part of its group's values is counted by all 32 bits
WORD = 32

Groups = AnyIntArray | None
RankCounts = tuple[IntArray, IntArray]


def coarse(values: npt.NDArray[np.float32], group: Groups = None) -> RankCounts:
    """Count values by their group and leading 16 bits: (cells, counts), rising."""
    return _counted(_words(values, group) >> BITS)


def fine(values: npt.NDArray[np.float32], crowded: IntArray, group: Groups = None) -> RankCounts:
    """Count the values of crowded cells by their group and all bits: (words, counts), rising."""
    words = _words(values, group)
    return _counted(words[np.isin(words >> BITS, crowded)])


def _words(values: npt.NDArray[np.float32], group: Groups) -> IntArray:
    """Return the group and the order-preserving bits of each value as one integer, [n]."""
    words = ordered(values).astype(np.int64)
    return words if group is None else words + (group.astype(np.int64) << WORD)


def _counted(words: IntArray) -> RankCounts:
    """Return the distinct words, rising, and their counts."""
    found, counts = np.unique(words, return_counts=True)
    return found.astype(np.int64), counts.astype(np.int64)


def merge_ranks(parts: list[RankCounts]) -> RankCounts:
    """Add the counts of several parts."""
    cells = np.concatenate([np.zeros(0, np.int64), *(cells for cells, _ in parts)])
    counts = np.concatenate([np.zeros(0, np.int64), *(counts for _, counts in parts)])
    found, place = np.unique(cells, return_inverse=True)
    total = np.zeros(len(found), np.int64)
    np.add.at(total, place, counts)
    return found, total


def crowded(counts: RankCounts) -> IntArray:
    """Return the cells that hold more than 1/4096 of their group's values."""
    cells, number = counts
    group = cells >> (WORD - BITS)
    found: IntArray = cells[number * CROWDED > np.bincount(group, number)[group]]
    return found


@dataclass(frozen=True, eq=False)
class Ranks:
    """The distribution function, built by `Ranks.from_counts`.

    `cells` [m] are the smallest words of the cells, rising, a group and 32 bits of a value; `rank` [m] is the rank of
    the values in each, within their group.

    >>> values, group = np.array([1, 3, 2, 9], np.float32), np.array([0, 0, 0, 1])
    >>> counts = coarse(values, group)
    >>> ranks = Ranks.from_counts(counts, fine(values, crowded(counts), group))
    >>> ranks(values, group).round(3).tolist()
    [0.167, 0.833, 0.5, 0.5]
    """

    cells: IntArray
    rank: npt.NDArray[np.float64]

    @staticmethod
    def from_counts(roughly: RankCounts, exactly: RankCounts) -> Ranks:
        """Combine the counts of all cells (`roughly`) with those of the crowded ones by all bits (`exactly`)."""
        cells, counts = roughly
        open_cells = ~np.isin(cells, crowded(roughly))
        starts = np.concatenate([cells[open_cells] << BITS, exactly[0]])
        number = np.concatenate([counts[open_cells], exactly[1]])
        order = np.argsort(starts, kind="stable")
        starts, number = starts[order], number[order]
        group = starts >> WORD
        total = np.bincount(group, number)
        below = np.cumsum(number) - number - (np.cumsum(total) - total)[group]
        return Ranks(starts, (below + number / 2) / total[group])

    def __call__(self, values: npt.NDArray[np.float32], group: Groups = None) -> npt.NDArray[np.float64]:
        """Return the rank of each value, in (0, 1); within 1/8192, and exact if its cell is crowded."""
        place = np.searchsorted(self.cells, _words(values, group), side="right") - 1
        found: npt.NDArray[np.float64] = self.rank[np.maximum(place, 0)]
        return found
