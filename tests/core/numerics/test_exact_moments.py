"""Exact moments: against Fractions, against numpy, and blind to order and layout."""

import math
import random
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raysample.core.numerics.exact_moments import ExactSums, exact_sums, merge_sums, moments, standardise

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(floats, min_size=1, max_size=30))
def test_moments_are_the_rounded_exact_ones(values: list[float]) -> None:
    found = moments(exact_sums(np.array(values, np.float32), np.zeros(len(values), np.int32), 1))
    exact = [Fraction(v) for v in values]
    mean = sum(exact) / len(exact)
    variance = sum(v * v for v in exact) / len(exact) - mean * mean
    assert found.mean[0] == float(mean)
    assert found.std[0] == math.sqrt(float(variance))


@given(st.lists(st.tuples(floats, st.integers(0, 3)), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_order_and_layout_do_not_matter(pairs: list[Any], rng: random.Random) -> None:
    def sums(some: list[Any]) -> ExactSums:
        group = np.array([g for _, g in some], np.int32)
        return exact_sums(np.array([v for v, _ in some], np.float32), group, int(group.max()) + 1 if some else 0)

    whole = moments(sums(pairs))
    shuffled = rng.sample(pairs, len(pairs))
    at = rng.randint(0, len(pairs))
    parts = moments(merge_sums([sums(shuffled[:at]), sums(shuffled[at:])]))
    for name in ("count", "mean", "std"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))


def test_agrees_with_numpy_in_float64() -> None:
    rng = np.random.default_rng(0)
    values, group = rng.lognormal(0, 3, 20_000).astype(np.float32), rng.integers(0, 7, 20_000)
    found = moments(exact_sums(values, group, 7))
    for g in range(7):
        mine = values[group == g].astype(np.float64)
        np.testing.assert_allclose([found.mean[g], found.std[g]], [mine.mean(), mine.std()], rtol=1e-12)
        z = standardise(values, group, found)[group == g].astype(np.float64)
        n = len(mine)
        np.testing.assert_allclose([z.mean(), z.std()], [0, 1], atol=1e-6)
        assert np.abs(z).max() <= (n - 1) / math.sqrt(n) * (1 + 1e-6)  # Samuelson's bound, population form


def test_a_huge_offset_does_not_cancel() -> None:
    # 2^24 + {0, 2}: in float32 or with naive float64 sums of squares the variance (exactly 1) would drown.
    found = moments(exact_sums(np.array([16777216, 16777218] * 1000, np.float32), np.zeros(2000, np.int32), 1))
    assert (found.mean[0], found.std[0]) == (16777217.0, 1.0)


def test_no_spread_singleton_and_empty_class_have_z_zero() -> None:
    values, group = np.array([0.1, 0.1, 0.1, 7.0], np.float32), np.array([0, 0, 0, 2], np.int32)
    found = moments(exact_sums(values, group, 3))
    assert found.count.tolist() == [3, 0, 1]
    assert found.std.tolist() == [0, 0, 0]
    assert standardise(values, group, found).tolist() == [0, 0, 0, 0]


def test_no_rows_at_all() -> None:
    assert len(moments(merge_sums([])).mean) == 0
