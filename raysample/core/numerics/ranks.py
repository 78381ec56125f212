"""The distribution function of float32 values, from counts that add up: equal for every order and division of the rows.

Values are counted by the leading 16 bits of their order-preserving form, and those of crowded cells by all 32 bits. The
rank of a value is the share of values below it, plus half of those in its cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import IntArray
from raysample.core.numerics.radix import BITS, ordered

CROWDED = 1 << 12  # a cell with more than this part of all values is counted by all 32 bits


RankCounts = tuple[IntArray, IntArray]


def coarse(values: npt.NDArray[np.float32]) -> RankCounts:
    """Count values by their leading 16 bits: (cells, counts), rising."""
    return _counted(ordered(values) >> np.uint32(BITS))


def fine(values: npt.NDArray[np.float32], crowded: IntArray) -> RankCounts:
    """Count the values of crowded cells by all bits: (words, counts), rising."""
    words = ordered(values)
    return _counted(words[np.isin(words >> np.uint32(BITS), crowded)])


def _counted(words: npt.NDArray[np.uint32]) -> RankCounts:
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
    """Return the cells that hold more than 1/4096 of all values."""
    cells, number = counts
    found: IntArray = cells[number * CROWDED > number.sum()]
    return found


@dataclass(frozen=True, eq=False)
class Ranks:
    """The distribution function, built by `Ranks.from_counts`.

    `cells` [m] are the smallest words of the cells, rising, as 32-bit words; `rank` [m] is the rank of the values in
    each.
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
        below = np.cumsum(number) - number
        return Ranks(starts, (below + number / 2) / max(1, int(number.sum())))

    def __call__(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the rank of each value, in (0, 1); within 1/8192, and exact if its cell is crowded."""
        place = np.searchsorted(self.cells, ordered(values).astype(np.int64), side="right") - 1
        found: npt.NDArray[np.float64] = self.rank[np.maximum(place, 0)]
        return found
