"""Shares of a budget: exact sums, the paper-and-pencil cases, and what each share promises."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysample.selection.policies.quotas import balanced, proportional

counts_and_budget = st.lists(st.integers(1, 1000), min_size=1, max_size=20).flatmap(
    lambda counts: st.tuples(st.just(np.array(counts, np.int64)), st.integers(1, sum(counts)))
)


@pytest.mark.parametrize(
    ("share", "counts", "budget", "expected"),
    [
        (proportional, [700, 200, 100], 500, [350, 100, 50]),
        (proportional, [1, 1, 1], 2, [1, 1, 0]),
        (proportional, [10, 1], 10, [9, 1]),  # 9.09 and 0.91: the larger remainder is the small class's
        (balanced, [700, 200, 100], 300, [100, 100, 100]),
        (balanced, [700, 200, 100], 500, [200, 200, 100]),
        (balanced, [700, 200, 100], 700, [400, 200, 100]),
        (balanced, [5, 5, 5], 7, [3, 2, 2]),
        (balanced, [3, 9, 9], 20, [3, 9, 8]),
    ],
)
def test_by_hand(share: Callable[..., Any], counts: list[int], budget: float, expected: list[int]) -> None:
    assert share(np.array(counts, np.int64), budget).tolist() == expected


@given(counts_and_budget)
def test_proportional_is_floor_or_ceil_of_the_exact_share(case: tuple[Any, int]) -> None:
    counts, budget = case
    quotas, total = proportional(counts, budget), counts.sum()
    assert quotas.sum() == budget
    assert (quotas <= counts).all()
    assert all(budget * n // total <= q <= -(-budget * n // total) for n, q in zip(counts, quotas, strict=True))


@given(counts_and_budget)
def test_balanced_gives_all_or_alike(case: tuple[Any, int]) -> None:
    counts, budget = case
    quotas = balanced(counts, budget)
    assert quotas.sum() == budget
    assert (quotas <= counts).all()
    assert (quotas >= 0).all()
    level = quotas.max()
    assert all(q == n or q >= level - 1 for n, q in zip(counts, quotas, strict=True))


def test_a_billion_rows_do_not_overflow() -> None:
    counts = np.array([6_000_000_000, 3_999_999_999], np.int64)
    assert proportional(counts, 5_000_000_000).sum() == 5_000_000_000
