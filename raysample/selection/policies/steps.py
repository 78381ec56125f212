"""Policies in several steps: steps drop or keep rows, and the last step chooses among the open rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import Float32Array, IntArray
from raysample.core.config import ArmConfig
from raysample.data.identity import NO_GROUP
from raysample.selection.policies.base import Anchor, Chance, GlobalStatistics, Grouping, Policy, Rows

Role = Literal["drop", "keep", "choose"]


@dataclass(frozen=True)
class Counts:
    """Row counts at the beginning of a step: all rows, open rows, the whole budget, the remaining budget."""

    total: int
    open: int
    budget: int
    left: int


@dataclass(frozen=True)
class StepSize:
    """Number of rows that a step takes: the sum of shares of the open, all and pruned rows and of the budget.

    `rest` adds the remaining budget. Each share is rounded separately.
    """

    of_open: float = 0.0
    of_total: float = 0.0
    of_pruned: float = 0.0
    of_budget: float = 0.0
    rest: bool = False

    def __call__(self, counts: Counts) -> int:
        """Return the number of rows."""
        shares = (
            (self.of_open, counts.open),
            (self.of_total, counts.total),
            (self.of_pruned, counts.total - counts.budget),
            (self.of_budget, counts.budget),
        )
        return sum(round(share * rows) for share, rows in shares) + (counts.left if self.rest else 0)


@dataclass(frozen=True)
class Limit:
    """Limit per stratum: at most `max_rows` rows, at least `min_rows`, or at least a `share` (of a small one, all).

    The stratum of rows without a group has no limit.
    """

    min_rows: int | None = None
    max_rows: int | None = None
    share: float | None = None

    def quotas(self, strata: IntArray, counts: IntArray, standing: IntArray) -> IntArray:
        """Return how many of each stratum's `counts` open rows to take, given `standing` rows that are kept already."""
        if self.max_rows is not None:
            return np.where(strata == NO_GROUP, counts, np.minimum(counts, np.maximum(self.max_rows - standing, 0)))
        min_rows = np.full(len(counts), self.min_rows or 0)
        if self.share is not None:  # tolerance, so that a rounding error of an exact product does not keep one row more
            min_rows = np.ceil(self.share * (counts + standing) - 1e-9).astype(np.int64)
        return np.where(strata == NO_GROUP, 0, np.minimum(counts, np.maximum(min_rows - standing, 0)))


@dataclass(frozen=True)
class QuotaShare:
    """Size of a step in strata with quotas of their own: it brings each to a `share` of its quota of the whole budget.

    Rows that earlier steps kept count. `leave`: rows of a quota that are left to later steps, unless the quota is the
    whole stratum.
    """

    share: float = 1.0
    leave: int = 0


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        policy: order in which rows are taken.
        role: `drop` prunes the rows that the step does not take, `keep` keeps those that it takes, and both pass the
            other rows on; `choose` decides all rows.
        size: number of rows that it takes.
        limit: rows per stratum, instead of `size`.
        quota_share: share of the policy's quotas of the whole budget, instead of `size`.
        name: name of the step in reasons; the arm's name if empty.
    """

    policy: Policy
    role: Role = "choose"
    size: StepSize = StepSize(rest=True)
    limit: Limit | None = None
    name: str = ""
    quota_share: QuotaShare | None = None


class Chain(ABC):
    """A policy made of steps; `version` and `example` are as in `Policy`."""

    version: ClassVar[str] = "1"
    example: ClassVar[Mapping[str, Any]] = {"score": "vog"}

    @classmethod
    @abstractmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return the policy; raises SelectionError for settings that it does not support."""

    @property
    @abstractmethod
    def steps(self) -> tuple[Step, ...]:
        """The steps in order; only the last one has the role `choose`."""

    @property
    def reweights(self) -> bool:
        """Whether the weight of kept rows is the inverse of their keep probability, unless the arm sets `weights`."""
        return False


def steps_of(policy: Policy | Chain) -> tuple[Step, ...]:
    """Return the steps of a policy; a simple policy has one step."""
    return policy.steps if isinstance(policy, Chain) else (Step(policy),)


def policy_columns(policy: Policy | Chain) -> tuple[str, ...]:
    """Return the score columns that a policy reads, each once."""
    return tuple(dict.fromkeys(name for step in steps_of(policy) for name in step.policy.columns))


def grouped(policy: Policy | Chain) -> bool:
    """Return whether a policy reads the rows' groups."""
    return any(step.policy.grouped for step in steps_of(policy))


@dataclass(frozen=True)
class Around(Policy):
    """Another policy's key with different strata, whose quotas come from a limit."""

    inner: Policy

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Not available by name."""
        raise NotImplementedError(f"{arm.policy} is built around another policy, not from {sorted(higher_is)}")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the other policy."""
        return self.inner.columns

    @property
    def moments_over(self) -> Grouping:
        """Return the other policy's value."""
        return self.inner.moments_over

    @property
    def extremes(self) -> bool:
        """Return the other policy's value."""
        return self.inner.extremes

    @property
    def grouped(self) -> bool:
        """Return the other policy's value."""
        return self.inner.grouped

    @property
    def entropies(self) -> bool:
        """Return the other policy's value."""
        return self.inner.entropies

    @property
    def ranked(self) -> tuple[str, ...]:
        """Return the other policy's value."""
        return self.inner.ranked

    @property
    def ranked_over(self) -> Grouping:
        """Return the other policy's value."""
        return self.inner.ranked_over

    @property
    def anchored(self) -> tuple[Anchor, ...]:
        """Return the other policy's value."""
        return self.inner.anchored

    @property
    def chance(self) -> Chance:
        """Return the other policy's value."""
        return self.inner.chance

    def log_weight(self, rows: Rows, facts: GlobalStatistics) -> npt.NDArray[np.float64]:
        """Return the other policy's value."""
        return self.inner.log_weight(rows, facts)

    def key(self, rows: Rows, facts: GlobalStatistics) -> Float32Array:
        """Return the other policy's value."""
        return self.inner.key(rows, facts)

    def quotas(self, strata: IntArray, counts: IntArray, budget: int) -> IntArray:
        """Not used: a limit sets the quotas."""
        raise NotImplementedError("a limit has no budget to share")


@dataclass(frozen=True)
class InClasses(Around):
    """Another policy's key with the classes as strata."""

    def strata(self, rows: Rows, facts: GlobalStatistics) -> IntArray:  # noqa: ARG002 - the policies' signature
        """Return the class of every row."""
        return rows.label.astype(np.int64)

    def stratum_name(self, stratum: int, labels: Sequence[str]) -> str:
        """Return the class."""
        return labels[stratum]


@dataclass(frozen=True)
class InGroups(Around):
    """Another policy's key with the groups as strata; rows that no cap can affect are in stratum NO_GROUP."""

    @property
    def grouped(self) -> bool:
        """True."""
        return True

    def strata(self, rows: Rows, facts: GlobalStatistics) -> IntArray:
        """Return the code of every row's group."""
        group = rows.groups
        if facts.sieve is None:
            return group
        return np.where((group != NO_GROUP) & facts.sieve(np.maximum(group, 0)), group, NO_GROUP)

    def stratum_name(self, stratum: int, labels: Sequence[str]) -> str:  # noqa: ARG002 - the policies' signature
        """Return one name for all groups: there may be millions, and only their codes are known."""
        return "its group"
