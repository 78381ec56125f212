"""Spherical k-means: clusters of unit vectors by cosine, deterministic on every machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raysample.core.arrays import FloatArray
from raysample.data.row_sampling import generator

RESTARTS = 8
MAX_ITERATIONS = 100


def spherical_kmeans(units: FloatArray, k: int, seed: int) -> FloatArray:
    """Return k unit centres [k, H] of unit vectors [R, H], sorted, that make Σ_u max_c cos(u, c) large.

    Lloyd's iterations with centres projected back to the sphere (Dhillon and Modha 2001), the best of RESTARTS
    k-means++ starts (Arthur and Vassilvitskii 2007; for unit vectors the squared distance is 2 − 2 cos).

    Args:
        units: vectors of length one; at least k of them.
        k: number of centres.
        seed: seed of the starts.
    """
    found = [_rounds(units, _start(units, k, seed, attempt)) for attempt in range(RESTARTS)]
    best = max(found, key=lambda centres: float((units @ centres.T).max(1).sum()))
    return best[np.lexsort(best.T[::-1])]


def _start(units: FloatArray, k: int, seed: int, attempt: int) -> FloatArray:
    """Draw k start centres [k, H] by k-means++.

    Each with probability proportional to its squared distance from the others.
    """
    draw = generator(seed, attempt)
    chosen = [int(draw.integers(len(units)))]
    far = 1 - units @ units[chosen[0]]
    while len(chosen) < k:
        weight = np.clip(far, 0, None)
        total = weight.sum()
        row = int(draw.choice(len(units), p=weight / total)) if total > 0 else int(draw.integers(len(units)))
        chosen.append(row)
        far = np.minimum(far, 1 - units @ units[row])
    return units[chosen]


def _rounds(units: FloatArray, centres: FloatArray) -> FloatArray:
    """Run Lloyd's iterations until no vector changes its centre, MAX_ITERATIONS at most; return the centres [k, H]."""
    before = np.full(len(units), -1)
    for _ in range(MAX_ITERATIONS):
        cosines = units @ centres.T
        nearest = cosines.argmax(1)
        if (nearest == before).all():
            break
        centres, before = _moved(units, centres, nearest, cosines.max(1)), nearest
    return centres


def _moved(units: FloatArray, centres: FloatArray, nearest: NDArray[np.intp], closeness: FloatArray) -> FloatArray:
    """Return the normalised mean of each centre's vectors [k, H].

    An empty centre moves to a vector far from its centre.
    """
    sums = np.zeros_like(centres)
    np.add.at(sums, nearest, units)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    moved: FloatArray = np.divide(sums, lengths, out=centres.copy(), where=lengths > 1e-12)
    empty = np.setdiff1d(np.arange(len(centres)), nearest)
    # An empty centre moves to the vector with the smallest cosine to its own centre.
    moved[empty] = units[np.argsort(closeness, kind="stable")[: len(empty)]]
    return moved
