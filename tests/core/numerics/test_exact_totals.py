"""Exact sums: against Fractions, for any order and cut, and what is rounded from them once."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysample.core.numerics.exact_totals import (
    UNIT,
    exact_totals,
    pack_total,
    rounded_correlation,
    rounded_deviation,
    rounded_mean,
    unpack_total,
)

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
tokens = st.integers(0, 2**20)


def totals(values: list[float], group: list[int] | None = None, groups: int = 1) -> tuple[int, ...]:
    places = np.array([0] * len(values) if group is None else group, np.int64)
    return exact_totals(np.array(values, np.float64), places, groups)


@settings(deadline=None)
@given(st.lists(st.tuples(floats, floats), max_size=30))
def test_sums_of_products_are_exact(pairs: list[tuple[float, float]]) -> None:
    (found,) = totals([float(np.float64(a) * np.float64(b)) for a, b in pairs])
    assert Fraction(found, 1 << UNIT) == sum((Fraction(a) * Fraction(b) for a, b in pairs), Fraction(0))


@settings(deadline=None)
@given(st.lists(st.tuples(floats, st.integers(0, 3)), max_size=40), st.randoms(use_true_random=False))
def test_order_and_cut_do_not_matter(pairs: list[tuple[float, int]], rng: random.Random) -> None:
    def of(some: list[tuple[float, int]]) -> tuple[int, ...]:
        return totals([value for value, _ in some], [group for _, group in some], 4)

    shuffled = rng.sample(pairs, len(pairs))
    at = rng.randint(0, len(pairs))
    assert of(pairs) == tuple(map(sum, zip(of(shuffled[:at]), of(shuffled[at:]), strict=True)))


@settings(deadline=None)
@given(st.lists(st.tuples(floats, tokens), min_size=2, max_size=20))
def test_moments_and_correlation_are_those_of_fractions(rows: list[tuple[float, int]]) -> None:
    x, y = ([Fraction(row[i]) for row in rows] for i in (0, 1))
    n = len(rows)
    centred = [[v - sum(column) / n for v in column] for column in (x, y)]
    xx, yy, xy = (sum(a * b for a, b in zip(centred[i], centred[j], strict=True)) for i, j in ((0, 0), (1, 1), (0, 1)))
    ones, others = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], np.float64)
    sums = [totals(list(values))[0] for values in (ones, others, ones * ones, others * others, ones * others)]
    assert rounded_mean(sums[0], n) == float(sum(x) / n)
    assert rounded_deviation(sums[0], sums[2], n) == math.sqrt(xx / n)
    r = rounded_correlation(*sums, n)
    if not xx or not yy:
        assert math.isnan(r)
    else:
        assert r == pytest.approx(math.copysign(math.sqrt(float(xy * xy / (xx * yy))), xy), rel=1e-14)


def test_the_smallest_product_of_two_floats_counts() -> None:
    assert totals([2.0**-298, 2.0**-298])[0] == 2 << (UNIT - 298)
    assert totals([]) == (0,)


@settings(deadline=None)
@given(st.integers(-(2**700), 2**700), st.integers(0, 400))
def test_packed_sums_come_back(odd: int, zeros: int) -> None:
    total = odd << zeros
    assert unpack_total(pack_total(total)) == total
    assert len(pack_total(total)) <= 4 + odd.bit_length() // 8
