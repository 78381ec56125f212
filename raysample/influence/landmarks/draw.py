"""The choice of landmarks: the rows with the smallest seeded hashes of their ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from raysample.core.numerics.radix import seeded
from raysample.data.identity import hash_row_ids

IntArray = npt.NDArray[np.int64]

# The `random` policy draws by the same hashes; this constant separates landmarks from its choice for the same seed.
_STREAM = 0x6C616E64


def draw_landmarks(row_ids: Sequence[str], count: int, seed: int) -> IntArray:
    """Return the positions of the `count` rows with the smallest seeded hashes of their ids, smallest first.

    The choice depends neither on row order nor on files, and the landmarks of a smaller `count` are the first ones of a
    larger `count`. All rows, in that order, if there are no more than `count`.
    """
    return np.argsort(landmark_hashes(row_ids, seed), kind="stable")[:count].astype(np.int64)


def landmark_hashes(row_ids: Sequence[str], seed: int) -> npt.NDArray[np.uint64]:
    """Return the seeded uint64 hash of each row id, [n]; a distributed caller merges the smallest ones of its parts."""
    return seeded(hash_row_ids(np.asarray(row_ids, dtype=object)), seed ^ _STREAM)
