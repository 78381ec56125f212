"""Policies: one file each, listed in POLICIES; `create` builds the policy of an arm."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from raysample.config import ArmConfig
from raysample.errors import SelectionError
from raysample.policies.base import Facts, Policy, Rows, identity, lottery
from raysample.policies.beta import Beta
from raysample.policies.consensus import Consensus
from raysample.policies.coverage import Coverage
from raysample.policies.easy import Easy
from raysample.policies.explore import Explore
from raysample.policies.hard import Hard
from raysample.policies.limits import limited
from raysample.policies.linear import Linear
from raysample.policies.middle import Middle
from raysample.policies.mix import Mix
from raysample.policies.random import Random
from raysample.policies.softmax import Softmax
from raysample.policies.steps import Chain, columns_of, steps_of
from raysample.policies.stratified_random import StratifiedRandom
from raysample.policies.window import Window

POLICIES: dict[str, type[Policy] | type[Chain]] = {
    "random": Random,
    "stratified_random": StratifiedRandom,
    "hard": Hard,
    "easy": Easy,
    "window": Window,
    "middle": Middle,
    "linear": Linear,
    "softmax": Softmax,
    "coverage": Coverage,
    "explore": Explore,
    "beta": Beta,
    "mix": Mix,
    "consensus": Consensus,
}


AUTO, FEW = "auto", 0.3
"""The policy that is not named, and the share of rows from which on it is `hard`; below, `explore`."""


def create(arm: ArmConfig, higher_is: Mapping[str, str], share: float = 1.0) -> Policy | Chain:
    """Build the policy of an arm, with the arm's limits around it.

    Args:
        arm: policy name, score, normalisation, quota, options and limits.
        higher_is: for each score column whether a high value is "harder" or "easier".
        share: the budget as a share of all rows, by which `auto` decides: below 0.3 a score alone does worse than
            chance (arXiv 2302.06960), so it is `explore` there, `hard` above.

    Raises:
        SelectionError: the policy is not known, or cannot follow the arm's other settings.
    """
    if arm.policy == AUTO:
        arm = arm.model_copy(update={"policy": "explore" if share < FEW else "hard"})
    if arm.policy not in POLICIES:
        close = difflib.get_close_matches(arm.policy, POLICIES, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise SelectionError(f"there is no policy {arm.policy!r}", f"{hint}known: {', '.join([AUTO, *POLICIES])}")
    return limited(POLICIES[arm.policy].from_arm(arm, higher_is), arm, higher_is)


__all__ = [
    "POLICIES",
    "Chain",
    "Facts",
    "Policy",
    "Rows",
    "columns_of",
    "create",
    "identity",
    "lottery",
    "steps_of",
]
