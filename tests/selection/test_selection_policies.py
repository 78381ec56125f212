"""The contract of every policy, with and without limits: the slow twin, any layout, the exact budget."""

import numpy as np
import pytest
from every_policy import HIGHER_IS, VARIANTS, columns, rows
from selection_twin import Twin

from raysample.errors import SelectionError
from raysample.policies import POLICIES, create
from raysample.selection import choose


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("budget", [370, 0.8])
def test_contract(name: str, budget: float) -> None:
    arm, data = VARIANTS[name], columns()
    policy, count = create(arm, HIGHER_IS), round(budget * 1000) if budget < 1 else int(budget)
    if sum(min(n, arm.max_per_class or n) for n in (700, 200, 100)) < count:
        with pytest.raises(SelectionError, match=r"max_per_class|leaves"):
            choose([rows(data)], policy, budget, 5)
        return
    whole = choose([rows(data)], policy, budget, seed=5)[0]
    assert whole.sum() == count
    order = np.random.default_rng(1).permutation(1000)
    cuts = [order[:1], order[1:1], order[1:400], order[400:]]
    pieces = choose([rows(data, cut) for cut in cuts], policy, budget, seed=5)
    for cut, kept in zip(cuts, pieces, strict=True):
        assert np.array_equal(kept, whole[cut])
    twin = Twin(data, 5)
    twin.budget = count
    assert np.array_equal(whole, twin.kept(arm, count))


def test_every_policy_is_among_the_variants() -> None:
    assert {arm.policy for arm in VARIANTS.values()} == set(POLICIES)
