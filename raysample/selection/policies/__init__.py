"""Policies: one file each, listed in POLICIES; `create_policy` builds the policy of an arm."""

from __future__ import annotations

from collections.abc import Mapping

from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.core.registry import PluginIdentity, Registry
from raysample.data.identity import hash_row_ids
from raysample.selection.policies.base import GlobalStatistics, Policy, Rows, row_hash
from raysample.selection.policies.beta import Beta
from raysample.selection.policies.class_power import ClassPower
from raysample.selection.policies.consensus import Consensus
from raysample.selection.policies.coverage import Coverage
from raysample.selection.policies.easy import Easy
from raysample.selection.policies.explore import Explore
from raysample.selection.policies.hard import Hard
from raysample.selection.policies.hedge import Hedge
from raysample.selection.policies.limits import with_limits
from raysample.selection.policies.linear import Linear
from raysample.selection.policies.middle import Middle
from raysample.selection.policies.mix import Mix
from raysample.selection.policies.random import Random
from raysample.selection.policies.softmax import Softmax
from raysample.selection.policies.steps import Chain, policy_columns, steps_of
from raysample.selection.policies.stratified_random import StratifiedRandom
from raysample.selection.policies.thinned import Thinned
from raysample.selection.policies.tilted import Tilted
from raysample.selection.policies.window import Window

POLICIES: dict[str, type[Policy] | type[Chain]] = {
    "random": Random,
    "stratified_random": StratifiedRandom,
    "hard": Hard,
    "easy": Easy,
    "window": Window,
    "middle": Middle,
    "linear": Linear,
    "softmax": Softmax,
    "tilted": Tilted,
    "coverage": Coverage,
    "explore": Explore,
    "hedge": Hedge,
    "class_power": ClassPower,
    "thinned": Thinned,
    "beta": Beta,
    "mix": Mix,
    "consensus": Consensus,
}


AUTO = "auto"
"""Name of the choice by evidence; without evidence it is `stratified_random`."""

POLICY_REGISTRY: Registry[Policy | Chain] = Registry("policy", (Policy, Chain), POLICIES, SelectionError, also=(AUTO,))
"""Finds the class for a name in a configuration: a built-in policy, a dotted path, or an entry point."""


def create_policy(arm: ArmConfig, higher_is: Mapping[str, str]) -> Policy | Chain:
    """Build the policy of an arm, with the arm's limits around it; that of `auto` is `stratified_random`.

    Args:
        arm: policy name, score, normalisation, quota, options and limits.
        higher_is: for each score column whether a high value is "harder" or "easier".

    Raises:
        SelectionError: the policy is unknown, or does not support the arm's other settings.
    """
    kind = StratifiedRandom if arm.policy == AUTO else POLICY_REGISTRY.find(arm.policy)
    return with_limits(kind.from_arm(arm, higher_is), arm, higher_is)


def policy_plugin(arm: ArmConfig) -> PluginIdentity | None:
    """Return the identity of the plug-in that an arm names; None for a built-in policy."""
    return None if arm.policy == AUTO else POLICY_REGISTRY.plugin(POLICY_REGISTRY.find(arm.policy))


__all__ = [
    "POLICIES",
    "POLICY_REGISTRY",
    "Chain",
    "GlobalStatistics",
    "Policy",
    "Rows",
    "create_policy",
    "hash_row_ids",
    "policy_columns",
    "policy_plugin",
    "row_hash",
    "steps_of",
]
