"""Exact sums of float64 values by group, as Python integers: additions are exact and commute.

A finite float64 is w · 2^(e-53) with a 54-bit signed integer w. Both halves of w are summed per exponent, which a
float64 of `bincount` holds exactly, and combined into one integer in units of 2^-UNIT. So means, deviations and
correlations are rounded once, whatever the order of the rows or their division into parts.
"""

from __future__ import annotations

import math

import numpy as np

from raysample.core.arrays import FloatArray, IntArray

UNIT = 360
TOTAL_HALF_BITS = 27
MAX_TOTAL_ROWS = 1 << 26  # per call: 2^26 numbers of 27 bits are below 2^53


def exact_totals(values: FloatArray, group: IntArray, groups: int) -> tuple[int, ...]:
    """Sum values [n] by `group` [n], integers in [0, groups): exact, in units of 2^-360.

    Values are zero, or at least 2^-298 and finite, as float32 numbers and products of two of them are.
    """
    assert values.size < MAX_TOTAL_ROWS, "cut the part into smaller ones"
    totals = [0] * groups
    if not values.size:
        return tuple(totals)
    fraction, exponent = np.frexp(values)
    whole = np.ldexp(fraction, 53).astype(np.int64)
    base = int(exponent.min())
    width = int(exponent.max()) - base + 1
    cell = group * width + (exponent - base)
    high, low = (
        _sums(cell, half, groups, width) for half in (whole >> TOTAL_HALF_BITS, whole & ((1 << TOTAL_HALF_BITS) - 1))
    )
    shift = base - 53 + UNIT
    assert shift >= 0, "values below 2^-298 are no products of float32 numbers"
    for place in np.flatnonzero(high | low).tolist():
        which, e = divmod(place, width)
        totals[which] += ((int(high[place]) << TOTAL_HALF_BITS) + int(low[place])) << (e + shift)
    return tuple(totals)


def _sums(cell: IntArray, half: IntArray, groups: int, width: int) -> IntArray:
    """Sum one half of the integers by cell; exact, as every partial sum stays below 2^53."""
    return np.bincount(cell, half.astype(np.float64), groups * width).astype(np.int64)


def rounded_mean(total: int, rows: int) -> float:
    """Return Σx / n, rounded once; NaN for no rows.

    >>> total = exact_totals(np.array([0.1, 0.2, 0.3]), np.zeros(3, np.int64), 1)[0]
    >>> rounded_mean(total, 3)  # exact sum, rounded once
    0.2
    """
    return total / (rows << UNIT) if rows else math.nan


def rounded_deviation(total: int, squares: int, rows: int) -> float:
    """Return √(Σx²/n − (Σx/n)²), the population form (ddof 0), from the exact variance; NaN for no rows."""
    return math.sqrt(_scatter(total, total, squares, rows) / (rows * rows << 2 * UNIT)) if rows else math.nan


def rounded_correlation(x: int, y: int, xx: int, yy: int, xy: int, rows: int) -> float:
    """Return Pearson's r from the exact sums Σx, Σy, Σx², Σy², Σxy; NaN where a column is constant."""
    both, first, second = (_scatter(*sums, rows) for sums in ((x, y, xy), (x, x, xx), (y, y, yy)))
    if not first or not second:
        return math.nan
    return math.copysign(math.sqrt(both * both / (first * second)), both)


def _scatter(x: int, y: int, xy: int, rows: int) -> int:
    """Return n·Σxy − Σx·Σy in units of 2^-(2·UNIT)."""
    return (rows * xy << UNIT) - x * y


def pack_total(total: int) -> bytes:
    """Write a sum in few bytes: two bytes with the number of trailing zero bits, then the remaining bits.

    >>> unpack_total(pack_total(-12345))
    -12345
    """
    zeros = (total & -total).bit_length() - 1 if total else 0
    odd = total >> zeros
    return zeros.to_bytes(2, "little") + odd.to_bytes(odd.bit_length() // 8 + 1, "little", signed=True)


def unpack_total(data: bytes) -> int:
    """Invert `pack_total`."""
    return int.from_bytes(data[2:], "little", signed=True) << int.from_bytes(data[:2], "little")
