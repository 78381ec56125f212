"""Class budgets by a power of class size: by hand, against the definition, and the known rules at both ends."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.selection import choose_rows, select
from raysample.selection.policies import create_policy
from raysample.selection.policies.quotas import BudgetConflictError, balanced, by_power, proportional
from tests.helpers.class_budget_twin import level, power_quotas
from tests.helpers.every_policy import HIGHER_IS, columns, rows

DATA = columns()
sizes_and_budget = st.lists(st.integers(0, 1000), min_size=1, max_size=20).flatmap(
    lambda sizes: st.tuples(st.just(np.array(sizes, np.int64)), st.integers(0, sum(sizes)))
)


def kept(budget: float = 300, seed: int = 0, **given: Any) -> Any:
    return choose_rows([rows(DATA)], create_policy(ArmConfig(**given), HIGHER_IS), budget, seed)[0]


def per_class(mask: Any) -> list[int]:
    return [int(n) for n in np.bincount(DATA["label"][mask], minlength=3)]


@pytest.mark.parametrize(
    ("sizes", "budget", "power", "expected"),
    [
        ([900, 400, 100], 120, 0.5, [60, 40, 20]),  # as 30 : 20 : 10
        ([900, 400, 100], 14, 1, [9, 4, 1]),
        ([900, 400, 100], 15, 0, [5, 5, 5]),
        ([64, 27, 8], 18, 1 / 3, [8, 6, 4]),  # as 4 : 3 : 2
        ([900, 100, 4], 184, 0.5, [135, 45, 4]),  # 30 : 10 : 2 would give 8.8 to a class of 4
        ([2, 18], 2, 0.5, [0, 2]),  # 1 : 3 is 0.5 and 1.5 rows, and of equal fractions the larger class has the row
        ([7, 0, 3], 10, 0.5, [7, 0, 3]),
    ],
)
def test_by_hand(sizes: list[int], budget: int, power: float, expected: list[int]) -> None:
    assert by_power(np.array(sizes, np.int64), budget, power).tolist() == expected


@given(sizes_and_budget)
def test_the_ends_are_the_known_shares(case: tuple[Any, int]) -> None:
    sizes, budget = case
    assert by_power(sizes, budget, 1).tolist() == proportional(sizes, budget).tolist()
    assert by_power(sizes, budget, 0).tolist() == balanced(sizes, budget).tolist()


@given(sizes_and_budget, st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.floats(0, 1)))
def test_shares_are_exact_and_follow_the_definition(case: tuple[Any, int], power: float) -> None:
    sizes, budget = case
    quotas = by_power(sizes, budget, power)
    assert quotas.sum() == budget
    assert (quotas >= 0).all()
    assert (quotas <= sizes).all()
    of_all = level(sizes.tolist(), budget, power)
    for n, quota in zip(sizes.tolist(), quotas.tolist(), strict=True):
        exact = min(n, of_all * n**power) if n else 0
        assert math.floor(exact - 1e-6) <= quota <= math.ceil(exact + 1e-6)
    rising = np.argsort(sizes, kind="stable")
    assert (np.diff(quotas[np.lexsort((quotas, sizes))]) >= 0).all(), sizes[rising]


@given(sizes_and_budget, st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_shares_equal_the_slow_twin(case: tuple[Any, int], power: float) -> None:
    sizes, budget = case
    assert by_power(sizes, budget, power).tolist() == power_quotas(sizes.tolist(), budget, power)


def test_a_billion_rows_keep_their_exact_shares() -> None:
    sizes = np.array([4_000_000_000, 1_000_000_000], np.int64)
    assert by_power(sizes, 3_000_000, 0.5).tolist() == [2_000_000, 1_000_000]


def test_class_power_leads_from_stratified_random_to_balanced() -> None:
    assert np.array_equal(kept(policy="class_power", power=1), kept(policy="stratified_random"))
    assert np.array_equal(kept(policy="class_power", power=0), kept(policy="stratified_random", quota="balanced"))
    assert np.array_equal(kept(policy="class_power", quota="balanced"), kept(policy="class_power", power=0))
    # √700 : √200 : √100 of 300 rows is 156.86, 83.85 and 59.29; the two largest fractions are rounded up.
    assert per_class(kept(policy="class_power", power=0.5)) == [157, 84, 59]
    assert np.array_equal(kept(policy="class_power"), kept(policy="class_power", power=0.5))


def test_bounds_hold_with_class_powers() -> None:
    counts = per_class(kept(policy="class_power", power=0.5, min_per_class=70, max_per_class=140))
    assert counts == [140, 90, 70]


def test_unbiased_weights_leave_a_row_to_every_class() -> None:
    data = columns((980, 15, 5))
    arms: list[dict[str, Any]] = [{"policy": "class_power", "power": 1}, {"policy": "hedge", "score": "vog"}]
    for arm in arms:
        policy = create_policy(ArmConfig(**arm, weights="unbiased"), HIGHER_IS)
        seen = select(lambda: [rows(data)], policy, 20).judge(rows(data))
        assert np.bincount(data["label"][seen.kept], minlength=3).tolist() == [18, 1, 1]
        assert (seen.chance > 0).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"policy": "class_power", "power": -0.5}, "'power' is -0.5\n  -> give a number from 0 to 1"),
        ({"policy": "class_power", "power": float("nan")}, "'power' is nan"),
        ({"policy": "class_power", "power": float("inf")}, "'power' is inf"),
        ({"policy": "class_power", "power": "half"}, "'power' is 'half'"),
        ({"policy": "class_power", "power": 0.5, "quota": "balanced"}, "both set the class budgets"),
        ({"policy": "class_power", "score": "vog"}, "has no use for score 'vog'"),
        ({"policy": "class_power", "pwr": 1}, "did you mean 'power'"),
        ({"policy": "thinned", "score": "confidence", "power": 2}, "'power' is 2"),
        ({"policy": "hedge", "score": "vog", "power": 0.5, "quota": "proportional"}, "leave one of them out"),
        ({"policy": "explore", "score": "vog", "power": float("nan")}, "'power' is nan"),
    ],
)
def test_class_budgets_that_cannot_be_followed_are_refused(given: dict[str, Any], message: str) -> None:
    options = {name: given.pop(name) for name in ("power", "pwr") if name in given}
    with pytest.raises(SelectionError, match=message):
        create_policy(ArmConfig(**given).model_copy(update={"options": options}), HIGHER_IS)


@pytest.mark.parametrize(
    "given",
    [
        {"policy": "class_power"},
        {"policy": "thinned", "score": "confidence"},
        {"policy": "tilted", "score": "vog"},
        {"policy": "hedge", "score": "vog", "share": 1},
        {"policy": "explore", "score": "vog", "quota": "proportional"},
    ],
    ids=lambda given: given["policy"],
)
def test_fewer_rows_than_classes_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(BudgetConflictError, match="2 rows is less than one row for each of 3 classes"):
        kept(2, **given)
    assert kept(3, **given).sum() == 3
