"""Which groups can have more than k rows: counts by hash, for any number of groups in fixed memory.

A group's code is a hash. Rows are counted by its low bits; a bucket with k rows or fewer holds no group of more than k.
The converse may fail (two groups share a bucket), so candidates are counted exactly elsewhere. Counts saturate at 255.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import IntArray

SketchCounts = tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]
MAX_COUNT = 255
SMALLEST, LARGEST = 1 << 10, 1 << 27


@dataclass(frozen=True, eq=False)
class CountSketch:
    """`bits` packs one bit per bucket: whether it may hold groups of more than k rows; `size` buckets, a power of 2."""

    bits: npt.NDArray[np.uint8]
    size: int

    def __call__(self, code: IntArray) -> npt.NDArray[np.bool_]:
        """Return which codes [n], not negative, may belong to groups of more than k rows."""
        bucket = code & (self.size - 1)
        found: npt.NDArray[np.bool_] = (self.bits[bucket >> 3] >> (bucket & 7).astype(np.uint8)) & 1 == 1
        return found


def buckets(rows: int) -> int:
    """Return the number of buckets for a number of rows: two per row, 128 million at most."""
    return min(LARGEST, max(SMALLEST, 1 << (2 * rows - 1).bit_length() if rows else 0))


def count_codes(code: IntArray, size: int) -> SketchCounts:
    """Count the codes of one part: (buckets, counts up to 255)."""
    bucket, count = np.unique(code & (size - 1), return_counts=True)
    return bucket.astype(np.uint32), np.minimum(count, MAX_COUNT).astype(np.uint8)


def build_sketch(parts: Iterable[SketchCounts], size: int, most: int) -> CountSketch:
    """Add the counts of all parts; `most` = k, below 255."""
    total = np.zeros(size, np.uint8)
    for bucket, count in parts:
        room = MAX_COUNT - total[bucket]
        total[bucket] += np.minimum(count, room)
    return CountSketch(np.packbits(total > most, bitorder="little"), size)
