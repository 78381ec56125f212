"""The public contract holds for every policy of the registry, and finds what a policy breaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pytest

from raysample.core.arrays import Float32Array
from raysample.core.config import ArmConfig
from raysample.selection.policies import POLICIES, GlobalStatistics, Rows
from raysample.selection.policies.options import direction
from raysample.selection.policies.ranked import Ranked
from raysample.testing import check_policy
from raysample.testing.policy_contract import columns


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_keeps_the_contract(name: str) -> None:
    check_policy(POLICIES[name])


@dataclass(frozen=True)
class Closest(Ranked):
    """A policy that keeps the contract: the rows closest to a score of 1."""

    @property
    def keeps(self) -> Any:
        """No end of the ranking."""
        return "harder"

    def key(self, rows: Rows, facts: GlobalStatistics) -> Float32Array:  # noqa: ARG002 - the policies' signature
        """Return the negative distance to 1."""
        found: Float32Array = -np.abs(rows.scores[self.score] - np.float32(1))
        return found


@dataclass(frozen=True)
class Permissive(Closest):
    """Ignores what it does not know."""

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Build it without a look at the options."""
        return cls(*direction(arm, arm.score, higher_is))


@dataclass(frozen=True)
class Positional(Closest):
    """Goes by the place of a row."""

    def key(self, rows: Rows, facts: GlobalStatistics) -> Float32Array:  # noqa: ARG002 - the policies' signature
        """Return the place."""
        return np.arange(len(rows), dtype=np.float32)


@dataclass(frozen=True)
class Uneven(Closest):
    """Keeps one row more than it shall."""

    def quotas(self, strata: Any, counts: Any, budget: int) -> Any:
        """Return one too many."""
        return super().quotas(strata, counts, budget - 1)


def test_a_policy_of_ones_own_keeps_the_contract() -> None:
    check_policy(Closest)
    check_policy(Closest, score="confidence", quota="balanced")


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (Permissive, "refuses an option that it does not know"),
        (Positional, "keeps the same rows in any order and layout"),
        (int, "derives from raysample.Policy"),
    ],
)
def test_a_broken_promise_is_named(kind: Any, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_policy(kind)


def test_quotas_that_miss_the_budget_are_an_error_of_the_engine() -> None:
    with pytest.raises(Exception, match="mend the policy's quotas"):
        check_policy(Uneven)


def test_rows_for_contracts_have_ties_and_rows_without_group() -> None:
    data = columns()
    assert len(set(data["aum"].tolist())) < 100
    assert sum(group is None for group in data["group"]) > 10
