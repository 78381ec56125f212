"""Limits that an arm adds to any policy: suspects dropped first, floors and caps per class and per group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self, final

from raysample.core.config import LIMITS, ArmConfig
from raysample.core.errors import SelectionError
from raysample.selection.policies.base import Policy
from raysample.selection.policies.easy import Easy
from raysample.selection.policies.quotas import Budgeted, Quota
from raysample.selection.policies.steps import Chain, InClasses, InGroups, Limit, Role, Step, StepSize, steps_of


@final
@dataclass(frozen=True)
class Limited(Chain):
    """A policy's steps with those of the limits inserted: drop suspects, apply caps, then keep the floors.

    A cap of groups (duplicates, one source) comes before one of classes, so that a class is not filled with copies.
    """

    all_steps: tuple[Step, ...]
    unbiased: bool

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Not available by name."""
        raise NotImplementedError(f"{arm.policy} is limited by `limited`, not from {sorted(higher_is)}")

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps in order."""
        return self.all_steps

    @property
    def reweights(self) -> bool:
        """Whether the weight of kept rows is the inverse of their keep probability."""
        return self.unbiased


def with_limits(policy: Policy | Chain, arm: ArmConfig, higher_is: Mapping[str, str]) -> Policy | Chain:
    """Return a policy with an arm's limits added; the policy itself if there are none.

    Floors keep the best rows of a class by the policy's own key, before the policy distributes the rest of the budget.
    If the classes are strata with budgets of their own, the limits bound these budgets instead.

    Raises:
        SelectionError: a floor above the cap, a score of unknown direction, or unbiased weights with unknown keep
            probabilities.
    """
    steps = steps_of(policy)
    usual = isinstance(policy, Chain) and policy.reweights
    unbiased = usual if arm.weights is None else arm.weights == "unbiased"
    steps = _limited(steps, arm)
    if arm.drop_suspects is not None:
        steps = (_suspects(arm, higher_is), *steps)
    if unbiased:
        _check_chances(steps, arm)
    return policy if steps == steps_of(policy) and unbiased == usual else Limited(steps, unbiased)


def _limited(steps: tuple[Step, ...], arm: ArmConfig) -> tuple[Step, ...]:
    """Return the steps with caps and floors inserted before the first step that is no drop."""
    min_rows, max_rows, share, cap = (getattr(arm, name) for name in LIMITS)
    if min_rows is not None and max_rows is not None and min_rows > max_rows:
        raise SelectionError(
            f"min_per_class is {min_rows:,}, max_per_class {max_rows:,}", "set the floor to the cap or less"
        )
    first = next(place for place, step in enumerate(steps) if step.role != "drop")
    key, last = steps[first].policy, steps[-1].policy
    if isinstance(last, Budgeted) and last.quota != "corpus":
        if share is not None:
            raise SelectionError(
                f"min_share_per_group keeps rows of every group, quota: {last.quota} shares the rows among the classes",
                "choose one of the two; min_per_class goes with both",
            )
        steps = tuple(
            _bounded(step, min_rows, max_rows) if step is steps[-1] or step.quota_share is not None else step
            for step in steps
        )
        min_rows = max_rows = None
    requested: tuple[tuple[float | None, Policy, Role, Limit, str], ...] = (
        (cap, InGroups(key), "drop", Limit(max_rows=cap), f"at most {cap} of a group"),
        (max_rows, InClasses(key), "drop", Limit(max_rows=max_rows), f"at most {max_rows} of a class"),
        (min_rows, InClasses(key), "keep", Limit(min_rows=min_rows), f"at least {min_rows} of a class"),
        (share, InGroups(key), "keep", Limit(share=share), f"at least {share} of each group"),
    )
    around = [Step(by, role, limit=limit, name=name) for value, by, role, limit, name in requested if value is not None]
    return (*steps[:first], *around, *steps[first:])


def _bounded(step: Step, min_rows: int | None, max_rows: int | None) -> Step:
    """Return a step whose policy bounds the budgets of classes, a floor of the policy's own included."""
    policy = step.policy
    assert isinstance(policy, Budgeted)
    return replace(step, policy=replace(policy, min_rows=min_rows or policy.min_rows, max_rows=max_rows))  # type: ignore[type-var]


def _suspects(arm: ArmConfig, higher_is: Mapping[str, str]) -> Step:
    """Return the step that drops the suspects."""
    assert arm.drop_suspects is not None
    given = arm.drop_suspects
    quota: Quota = "proportional" if given.within == "class" else "corpus"
    policy = Easy.from_arm(ArmConfig(policy="drop_suspects", score=given.score, quota=quota), higher_is)
    size = StepSize(of_open=1, of_total=-given.share)
    place = " of each class" if given.within == "class" else ""
    return Step(policy, "drop", size, name=f"suspects, the hardest {given.share:g}{place} by {given.score}")


def _check_chances(steps: tuple[Step, ...], arm: ArmConfig) -> None:
    """Raise SelectionError if unbiased weights are requested and keep probabilities are unknown or 0."""
    if any(step.role != "choose" and step.policy.chance != "sure" for step in steps):
        raise SelectionError(
            f"{arm.name!r} draws rows in several steps, so their chances are not known, nor unbiased weights",
            "set weights: none; or quota: proportional, within which floors and caps keep chances known",
        )
    if steps[-1].policy.chance == "sure":
        raise SelectionError(
            f"{arm.name!r} leaves nothing to chance: no seed keeps the rows that it prunes, so no weights are unbiased",
            "set weights: none, or choose a policy that draws (explore, softmax, linear, coverage, random)",
        )
