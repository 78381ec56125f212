"""Exact, mergeable mean and standard deviation of float32 values by group.

A finite float32 is ±m · 2^(e-150) with a 24-bit integer m and a biased exponent e >= 1. Sums of m (and of m², split
into two 24-bit halves) per exponent are integers, so additions are exact and commute: the moments are equal to the last
bit whatever the order of the rows, their division into parts, or the machine that counted a part.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import FloatArray, IntArray

EXPONENTS = 256
MOMENT_HALF_BITS = 24
MAX_MOMENT_ROWS = 1 << 29  # per call: a float64 of bincount holds 2^29 numbers of 24 bits exactly


@dataclass(frozen=True, eq=False)
class ExactSums:
    """Integer sums of one part of the data: `count` [G]; the others [G, 256] by biased exponent of the values.

    `mantissa` is Σ ±m; `high` and `low` are the halves of Σ m² = Σ high · 2^24 + low. Room for 2^38 rows in all.
    """

    count: IntArray
    mantissa: IntArray
    high: IntArray
    low: IntArray


@dataclass(frozen=True, eq=False)
class GroupMoments:
    """Per group, all [G] float64 (int64 for `count`): mean and population standard deviation; 0 for an empty group."""

    count: IntArray
    mean: FloatArray
    std: FloatArray


def exact_sums(values: npt.NDArray[np.float32], group: npt.NDArray[np.integer], groups: int) -> ExactSums:
    """Sum finite `values` [n] by `group` [n], integers in [0, groups); fewer than 2^29 values in one call."""
    assert values.size < MAX_MOMENT_ROWS, "cut the part into smaller ones"
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    exponent = ((bits >> 23) & 0xFF).astype(np.int64)
    mantissa = (bits & 0x7FFFFF).astype(np.int64) | np.where(exponent > 0, 1 << 23, 0)
    cell = group.astype(np.int64) * EXPONENTS + np.maximum(exponent, 1)
    square = mantissa * mantissa
    signed = np.where(bits >> 31 == 1, -mantissa, mantissa)
    sums = [
        _sum(cell, part, groups)
        for part in (signed, square >> MOMENT_HALF_BITS, square & ((1 << MOMENT_HALF_BITS) - 1))
    ]
    return ExactSums(np.bincount(group, minlength=groups).astype(np.int64), *sums)


def _sum(cell: IntArray, weights: IntArray, groups: int) -> IntArray:
    """Sum integer weights [n] by cell into [groups, EXPONENTS]; exact, as every partial sum stays below 2^53."""
    sums = np.bincount(cell, weights.astype(np.float64), minlength=groups * EXPONENTS)
    return sums.astype(np.int64).reshape(groups, EXPONENTS)


def merge_sums(parts: Iterable[ExactSums]) -> ExactSums:
    """Add the sums of several parts; a part with fewer groups counts as zero for the others."""
    total = ExactSums(np.zeros(0, np.int64), *(np.zeros((0, EXPONENTS), np.int64) for _ in range(3)))
    for part in parts:
        names = ("count", "mantissa", "high", "low")
        total = ExactSums(*(_added(getattr(total, name), getattr(part, name)) for name in names))
    return total


def _added(a: IntArray, b: IntArray) -> IntArray:
    """Add two arrays along the first axis, the shorter one padded with zeros."""
    if len(a) < len(b):
        a, b = b, a
    result = a.copy()
    result[: len(b)] += b
    return result


def moments(sums: ExactSums) -> GroupMoments:
    """Round the exact moments once: mean = Σx/n and std = √((n·Σx² - (Σx)²) / n²), population form (ddof 0).

    >>> sums = exact_sums(np.array([1, 3, 5], np.float32), np.array([0, 0, 1]), groups=2)
    >>> found = moments(sums)
    >>> found.mean.tolist(), found.std.tolist()
    ([2.0, 5.0], [1.0, 0.0])
    """
    both = [_rounded(sums, group) for group in range(len(sums.count))]
    mean, std = np.array(both, dtype=np.float64).reshape(-1, 2).T
    return GroupMoments(sums.count, mean, std)


def _rounded(sums: ExactSums, group: int) -> tuple[float, float]:
    """Return (mean, standard deviation) of one group, rounded once from exact integers."""
    n = int(sums.count[group])
    if n == 0:
        return 0.0, 0.0
    total = squares = 0  # Python integers, in units of 2^-149 and 2^-298
    for e in np.flatnonzero(sums.mantissa[group] | sums.high[group] | sums.low[group]).tolist():
        total += int(sums.mantissa[group, e]) << (e - 1)
        squares += ((int(sums.high[group, e]) << MOMENT_HALF_BITS) + int(sums.low[group, e])) << (2 * (e - 1))
    variance = (n * squares - total * total) / (n * n << 298)
    return total / (n << 149), math.sqrt(variance)


def standardise(
    values: npt.NDArray[np.float32], group: npt.NDArray[np.integer], of: GroupMoments
) -> npt.NDArray[np.float32]:
    """Return z = (x - mean_g) / std_g as float32 [n]; 0 where a group has no spread (std 0, or a single row)."""
    std = of.std[group]
    centred = values.astype(np.float64) - of.mean[group]
    z: npt.NDArray[np.float64] = np.divide(centred, std, out=np.zeros_like(centred), where=std > 0)
    return z.astype(np.float32)
