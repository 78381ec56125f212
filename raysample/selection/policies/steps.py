"""A policy in several steps: rows that some steps drop or keep, before the last one chooses among what is left."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from raysample.core.config import ArmConfig
from raysample.data.identity import NO_GROUP
from raysample.selection.policies.base import (
    Anchor,
    Chance,
    FloatArray,
    GlobalStatistics,
    Grouping,
    IntArray,
    Policy,
    Rows,
)

Role = Literal["drop", "keep", "choose"]


@dataclass(frozen=True)
class Counts:
    """What is known when a step begins: all rows, those not decided yet, the whole budget, what is left of it."""

    total: int
    open: int
    budget: int
    left: int


@dataclass(frozen=True)
class StepSize:
    """How many rows a step takes: shares of the open rows, of all rows, of the pruned and of the budget, added up.

    `rest` is what is left of the budget. Each share is rounded by itself.
    """

    of_open: float = 0.0
    of_total: float = 0.0
    of_pruned: float = 0.0
    of_budget: float = 0.0
    rest: bool = False

    def __call__(self, counts: Counts) -> int:
        """Return the number."""
        shares = (
            (self.of_open, counts.open),
            (self.of_total, counts.total),
            (self.of_pruned, counts.total - counts.budget),
            (self.of_budget, counts.budget),
        )
        return sum(round(share * rows) for share, rows in shares) + (counts.left if self.rest else 0)


@dataclass(frozen=True)
class Limit:
    """How many rows each stratum may keep at `most`; or keeps at `least`, or by a `share` (all where it has fewer).

    The stratum of rows without a group has no limit.
    """

    least: int | None = None
    most: int | None = None
    share: float | None = None

    def quotas(self, strata: IntArray, counts: IntArray, standing: IntArray) -> IntArray:
        """Return how many of each stratum's `counts` open rows to take, where `standing` rows are kept already."""
        if self.most is not None:
            return np.where(strata == NO_GROUP, counts, np.minimum(counts, np.maximum(self.most - standing, 0)))
        least = np.full(len(counts), self.least or 0)
        if self.share is not None:  # what rounding adds to an exact product is no reason to keep one row more
            least = np.ceil(self.share * (counts + standing) - 1e-9).astype(np.int64)
        return np.where(strata == NO_GROUP, 0, np.minimum(counts, np.maximum(least - standing, 0)))


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        policy: which rows it takes first. role: `drop` prunes the rows that it does not take, `keep` keeps those that
            it takes, and both hand the others on; `choose` decides all rows.
        size: how many rows it takes; or `limit`: how many of each stratum.
        name: what reasons call it; that of the arm if empty.
    """

    policy: Policy
    role: Role = "choose"
    size: StepSize = StepSize(rest=True)
    limit: Limit | None = None
    name: str = ""


class Chain(ABC):
    """A policy that is made of steps; `version` and `example` are as in `Policy`."""

    version: ClassVar[str] = "1"
    example: ClassVar[Mapping[str, Any]] = {"score": "vog"}

    @classmethod
    @abstractmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Build it; raises SelectionError for settings that it cannot follow."""

    @property
    @abstractmethod
    def steps(self) -> tuple[Step, ...]:
        """The steps in order; the last one, and it alone, chooses."""

    @property
    def reweights(self) -> bool:
        """Whether kept rows weigh the inverse of their chance, unless the arm says otherwise."""
        return False


def steps_of(policy: Policy | Chain) -> tuple[Step, ...]:
    """Return the steps of a policy; a plain one has one step."""
    return policy.steps if isinstance(policy, Chain) else (Step(policy),)


def policy_columns(policy: Policy | Chain) -> tuple[str, ...]:
    """Return the score columns that a policy reads, each once."""
    return tuple(dict.fromkeys(name for step in steps_of(policy) for name in step.policy.columns))


def grouped(policy: Policy | Chain) -> bool:
    """Tell whether a policy looks at the rows' groups."""
    return any(step.policy.grouped for step in steps_of(policy))


@dataclass(frozen=True)
class Around(Policy):
    """Another policy's key, with other strata, whose sizes a limit sets."""

    inner: Policy

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """No arm asks for it by name."""
        raise NotImplementedError(f"{arm.policy} is built around another policy, not from {sorted(higher_is)}")

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the other policy."""
        return self.inner.columns

    @property
    def moments_over(self) -> Grouping:
        """As the other policy's."""
        return self.inner.moments_over

    @property
    def extremes(self) -> bool:
        """As the other policy's."""
        return self.inner.extremes

    @property
    def grouped(self) -> bool:
        """As the other policy."""
        return self.inner.grouped

    @property
    def entropies(self) -> bool:
        """As the other policy's."""
        return self.inner.entropies

    @property
    def ranked(self) -> tuple[str, ...]:
        """As the other policy's."""
        return self.inner.ranked

    @property
    def anchored(self) -> tuple[Anchor, ...]:
        """As the other policy's."""
        return self.inner.anchored

    @property
    def chance(self) -> Chance:
        """As the other policy's."""
        return self.inner.chance

    def log_weight(self, rows: Rows, facts: GlobalStatistics) -> npt.NDArray[np.float64]:
        """As the other policy's."""
        return self.inner.log_weight(rows, facts)

    def key(self, rows: Rows, facts: GlobalStatistics) -> FloatArray:
        """As the other policy's."""
        return self.inner.key(rows, facts)

    def quotas(self, strata: IntArray, counts: IntArray, budget: int) -> IntArray:
        """Never asked: a limit says how many rows a stratum keeps."""
        raise NotImplementedError("a limit has no budget to share")


@dataclass(frozen=True)
class InClasses(Around):
    """With the classes as strata."""

    def strata(self, rows: Rows, facts: GlobalStatistics) -> IntArray:  # noqa: ARG002 - the policies' signature
        """Return the class of every row."""
        return rows.label.astype(np.int64)

    def stratum_name(self, stratum: int, labels: Sequence[str]) -> str:
        """Return the class."""
        return labels[stratum]


@dataclass(frozen=True)
class InGroups(Around):
    """With the groups as strata; rows without one, and those of groups that a cap cannot touch, are FREE."""

    @property
    def grouped(self) -> bool:
        """Yes."""
        return True

    def strata(self, rows: Rows, facts: GlobalStatistics) -> IntArray:
        """Return the code of every row's group."""
        group = rows.groups
        if facts.sieve is None:
            return group
        return np.where((group != NO_GROUP) & facts.sieve(np.maximum(group, 0)), group, NO_GROUP)

    def stratum_name(self, stratum: int, labels: Sequence[str]) -> str:  # noqa: ARG002 - the policies' signature
        """Return a word for all groups: there may be millions, and they are known by their codes alone."""
        return "its group"
