"""The contract of every policy, with and without limits: the slow twin, any layout, the exact budget."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from raysample.core.config import LIMITS, ArmConfig
from raysample.core.errors import SelectionError
from raysample.selection import choose_rows
from raysample.selection.policies import POLICIES, create_policy
from tests.helpers.every_policy import HIGHER_IS, VARIANTS, TableColumns, columns, rows
from tests.helpers.selection_twin import Twin

TAUGHT = {name: arm for name, arm in VARIANTS.items() if arm.policy in Twin.POLICIES}


@pytest.mark.parametrize("name", TAUGHT)
@pytest.mark.parametrize("budget", [370, 0.8])
def test_contract(name: str, budget: float) -> None:
    arm, data = TAUGHT[name], columns()
    policy, count = create_policy(arm, HIGHER_IS), round(budget * 1000) if budget < 1 else int(budget)
    if room(arm, data) < count:
        with pytest.raises(SelectionError, match=r"max_per_class|leaves"):
            choose_rows([rows(data)], policy, budget, 5)
        return
    whole = choose_rows([rows(data)], policy, budget, seed=5)[0]
    assert whole.sum() == count
    order = np.random.default_rng(1).permutation(1000)
    cuts = [order[:1], order[1:1], order[1:400], order[400:]]
    pieces = choose_rows([rows(data, cut) for cut in cuts], policy, budget, seed=5)
    for cut, kept in zip(cuts, pieces, strict=True):
        assert np.array_equal(kept, whole[cut])
    twin = Twin(data, 5)
    twin.budget = count
    assert np.array_equal(whole, twin.kept(arm, count))


def room(arm: ArmConfig, data: TableColumns) -> int:
    """Return how many rows an arm's caps leave at most."""
    groups = Counter(data["group"])
    without = groups.pop(None, 0)
    by_group = without + sum(min(n, arm.cap_per_group or n) for n in groups.values())
    return min(by_group, sum(min(n, arm.max_per_class or n) for n in (700, 200, 100)))


SHARP = [arm for arm in TAUGHT.values() if arm.policy != "beta"]  # whose ten anchors twin and engine may cut apart
value = st.one_of(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.floats(-1e3, 1e3, width=32))
group = st.sampled_from([None, "a", "b", "c", "ü"])
table = st.lists(st.tuples(st.integers(0, 3), group, value, value, value), min_size=1, max_size=30)


@settings(max_examples=250, deadline=None)
@given(st.data(), table, st.sampled_from(SHARP), st.integers(0, 2**64 - 1))
def test_equals_the_slow_twin_on_anything(data: st.DataObject, lines: list[Any], arm: ArmConfig, seed: int) -> None:
    budget, at = data.draw(st.integers(1, len(lines))), data.draw(st.integers(0, len(lines)))
    label, groups, *scores = (np.array(column) for column in zip(*lines, strict=True))
    names = ("vog", "aum", "dual", "confidence")
    made = {name: values.astype(np.float32) for name, values in zip(names, [*scores, scores[0]], strict=True)}
    whole = {
        "row_id": np.array([f"é{i}" for i in range(len(lines))], object),
        "label": label,
        "group": groups.astype(object),
        **made,
    }
    parts = [rows(whole, slice(None, at)), rows(whole, slice(at, None))]
    try:
        kept = np.concatenate(choose_rows(parts, create_policy(arm, HIGHER_IS), budget, seed))
    except SelectionError as error:
        if "less than one row for each" in str(error):
            assert budget < len({*label.tolist()})
            return
        limited = (
            any(getattr(arm, name) for name in LIMITS) or arm.drop_suspects or arm.policy in ("window", "coverage")
        )
        assume(not limited)  # a limit that cannot be met is an error; nothing else may be
        raise
    assert kept.sum() == budget
    assert np.array_equal(kept, Twin(whole, seed).kept(arm, budget))


def test_the_twin_is_held_against_every_policy_that_it_knows() -> None:
    assert {arm.policy for arm in TAUGHT.values()} == Twin.POLICIES
    assert set(POLICIES) >= Twin.POLICIES
