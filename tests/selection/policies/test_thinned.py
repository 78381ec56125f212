"""`thinned`: near-duplicates come last, class budgets follow the distinct rows, and bounds hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.selection import choose_rows, select
from raysample.selection.policies import Rows, create_policy
from raysample.selection.policies.thinned import Thinned, near_duplicates

KNOWN = {"nearest_similarity": "easier", "vog": "harder"}


def corpus(label: Any, similarity: Any, group: Any = None) -> Rows:
    columns = {"nearest_similarity": similarity}
    return Rows.from_columns([f"r{i}" for i in range(len(label))], label, columns, group)


def kept(data: Rows, budget: float, seed: int = 0, **given: Any) -> Any:
    return choose_rows([data], create_policy(ArmConfig(**given), KNOWN), budget, seed)[0]


@pytest.mark.parametrize(
    ("strata", "counts", "budget", "fields", "expected"),
    [
        # Strata 0 and 2 are the distinct rows of two classes, 1 and 3 their near-duplicates.
        ([0, 1, 2, 3], [64, 500, 16, 10], 24, {"power": 0.5}, [16, 0, 8, 0]),  # as 8 : 4
        ([0, 1, 2, 3], [64, 500, 16, 10], 40, {"power": 1}, [32, 0, 8, 0]),
        ([0, 1, 2, 3], [64, 500, 16, 10], 80, {}, [64, 0, 16, 0]),
        ([0, 1, 2, 3], [64, 400, 16, 100], 180, {"power": 1}, [64, 80, 16, 20]),  # 100 more rows, as 4 : 1
        ([0, 1, 2, 3], [64, 400, 16, 100], 180, {"power": 0}, [64, 50, 16, 50]),
        ([1, 2], [30, 10], 12, {}, [2, 10]),  # a class of near-duplicates alone
        ([0, 1, 2], [5, 100, 95], 50, {"min_rows": 20}, [5, 15, 30]),
        ([0, 1, 2, 3], [64, 500, 16, 10], 60, {"max_rows": 40}, [40, 0, 16, 4]),
    ],
)
def test_budgets_by_hand(
    strata: list[int], counts: list[int], budget: int, fields: dict[str, Any], expected: list[int]
) -> None:
    assert Thinned(**fields).quotas(np.array(strata), np.array(counts), budget).tolist() == expected


def test_a_row_at_the_threshold_is_no_near_duplicate() -> None:
    assert near_duplicates(np.array([0.94, 0.95, 0.96], np.float32), 0.95).tolist() == [False, False, True]


similarity = st.sampled_from([-0.2, 0.5, 0.9, 0.97, 1.0])
lines = st.lists(st.tuples(st.integers(0, 3), similarity), min_size=4, max_size=60)


@settings(max_examples=80, deadline=None)
@given(st.data(), lines, st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 1.0]))
def test_near_duplicates_are_kept_only_with_all_distinct_rows(
    data: st.DataObject, table: list[Any], seed: int, power: float
) -> None:
    label, values = (np.array(column) for column in zip(*table, strict=True))
    budget = data.draw(st.integers(len({*label.tolist()}), len(table)))
    rows = corpus(label, values)
    mask, near = kept(rows, budget, seed, policy="thinned", threshold=0.95, power=power), values > 0.95
    assert mask.sum() == budget
    assert not mask[near].any() or mask[~near].all()
    # Thinning is sampling from the distinct rows, where there are enough of them.
    if 1 <= budget <= (~near).sum():
        distinct = rows.take(np.flatnonzero(~near))
        assert np.array_equal(mask[~near], kept(distinct, budget, seed, policy="class_power", power=power))


@settings(max_examples=40, deadline=None)
@given(st.data(), lines, st.integers(0, 2**32 - 1))
def test_without_near_duplicates_it_is_the_draw_of_the_same_seed(
    data: st.DataObject, table: list[Any], seed: int
) -> None:
    label, values = (np.array(column) for column in zip(*table, strict=True))
    budget = data.draw(st.integers(len({*label.tolist()}), len(table)))
    rows = corpus(label, values)
    unthinned = kept(rows, budget, seed, policy="thinned", threshold=1)
    assert np.array_equal(unthinned, kept(rows, budget, seed, policy="stratified_random"))
    root = kept(rows, budget, seed, policy="thinned", threshold=1, power=0.5)
    assert np.array_equal(root, kept(rows, budget, seed, policy="class_power", power=0.5))


def test_chances_are_those_of_the_draw_among_distinct_rows() -> None:
    rows = corpus(np.repeat([0, 1], 50), np.tile([0.1, 0.99], 50))
    policy = create_policy(ArmConfig(policy="thinned", threshold=0.95, weights="unbiased"), KNOWN)
    plan = select(lambda: [rows], policy, 20)
    seen = plan.judge(rows)
    assert sorted({*seen.chance.tolist()}) == [0, 0.4]
    assert seen.chance.sum() == pytest.approx(20)
    names = [threshold.name for threshold in plan.thresholds(("a", "b"))]
    assert names == ["a", "near-duplicates of a", "b", "near-duplicates of b"]


def test_a_cap_of_groups_prefers_distinct_rows() -> None:
    rows = corpus([0] * 40, [0.99, 0.99, 0.99, 0.1] * 10, [str(i // 4) for i in range(40)])
    mask = kept(rows, 10, policy="thinned", cap_per_group=1)
    assert np.flatnonzero(mask).tolist() == list(range(3, 40, 4))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"threshold": 1.5}, "'threshold' is 1.5\n  -> give a number from -1 to 1"),
        ({"score": "odd"}, "the column 'odd'; there are nearest_similarity, vog"),
        ({"normalise": "class"}, "no use for normalise"),
        ({"treshold": 0.9}, "did you mean 'threshold'"),
    ],
)
def test_what_cannot_be_thinned_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        create_policy(ArmConfig(policy="thinned", **given), KNOWN)


def test_a_missing_column_of_similarities_is_named() -> None:
    with pytest.raises(SelectionError, match="'nearest_similarity'; there are vog\n  -> compute 'nearest_similarity'"):
        create_policy(ArmConfig(policy="thinned"), {"vog": "harder"})
