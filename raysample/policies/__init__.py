"""Policies: one file each, listed in POLICIES; `create` builds the policy of an arm."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from raysample.config import ArmConfig
from raysample.errors import SelectionError
from raysample.policies.base import Facts, Policy, Rows, identity, lottery
from raysample.policies.easy import Easy
from raysample.policies.hard import Hard
from raysample.policies.random import Random
from raysample.policies.stratified_random import StratifiedRandom

POLICIES: dict[str, type[Policy]] = {
    "random": Random,
    "stratified_random": StratifiedRandom,
    "hard": Hard,
    "easy": Easy,
}


def create(arm: ArmConfig, higher_is: Mapping[str, str]) -> Policy:
    """Build the policy of an arm.

    Args:
        arm: policy name, score, normalisation and quota.
        higher_is: for each score column whether a high value is "harder" or "easier".

    Raises:
        SelectionError: the policy is not known, or cannot follow the arm's other settings.
    """
    if arm.policy not in POLICIES:
        close = difflib.get_close_matches(arm.policy, POLICIES, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise SelectionError(f"there is no policy {arm.policy!r}", f"{hint}known: {', '.join(POLICIES)}")
    return POLICIES[arm.policy].from_arm(arm, higher_is)


__all__ = ["POLICIES", "Facts", "Policy", "Rows", "create", "identity", "lottery"]
