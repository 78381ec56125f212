"""The choice of landmarks: the rows with the smallest seeded hashes of their ids."""

from __future__ import annotations

from collections.abc import Sequence

from raysample.core.arrays import IntArray
from raysample.data.row_sampling import smallest_hashes

# The `random` policy draws by the same hashes; this constant separates landmarks from its choice for the same seed.
_STREAM = 0x6C616E64


def draw_landmarks(row_ids: Sequence[str], count: int, seed: int) -> IntArray:
    """Return the positions of the `count` rows with the smallest seeded hashes of their ids, smallest first.

    The choice depends neither on row order nor on files, and the landmarks of a smaller `count` are the first ones of a
    larger `count`. All rows, in that order, if there are no more than `count`.
    """
    return smallest_hashes(row_ids, count, landmark_seed(seed))


def landmark_seed(seed: int) -> int:
    """Return the seed of the hashes by which landmarks are chosen."""
    return seed ^ _STREAM
