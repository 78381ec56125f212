"""Samples that are drawn anew for every epoch: their seeds, and which arms can be drawn anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.selection.policies.base import Policy
from raysample.selection.policies.steps import Chain, steps_of
from raysample.selection.result import KEPT, Selection


def draw_seed(seed: int, epoch: int) -> int:
    """Return the seed of the sample that an epoch, counted from 0, is trained on.

    The first epoch has the seed of the run, so its sample is that of the arm without `redraw`. A later one has the
    first 32 bits of NumPy's `SeedSequence([seed, epoch])`, which any command takes as a seed.

    >>> [draw_seed(7, epoch) for epoch in range(3)]
    [7, 369571992, 1009178997]
    """
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint32)[0]) if epoch else seed


def is_random(policy: Policy | Chain) -> bool:
    """Return whether the kept rows depend on the seed beyond ties: a step of the policy draws rows by lot or by weight.

    >>> from raysample.selection.policies import create_policy
    >>> arms = [ArmConfig(policy="random"), ArmConfig(policy="hard", score="loss")]
    >>> [is_random(create_policy(arm, {"loss": "harder"})) for arm in arms]
    [True, False]
    """
    return any(step.policy.chance != "sure" for step in steps_of(policy))


def check_redraw(arm: ArmConfig, policy: Policy | Chain) -> None:
    """Raise SelectionError for an arm with `redraw` whose policy keeps the same rows in every draw."""
    if arm.redraw and not is_random(policy):
        raise SelectionError(
            f"the arm {arm.name!r} keeps the same rows whatever the seed, so there is nothing to draw anew",
            "leave `redraw` out, or choose a policy that draws (stratified_random, class_power, thinned, tilted, "
            "softmax, hedge, ...)",
        )


def check_single(arm: ArmConfig) -> None:
    """Raise SelectionError for an arm with `redraw` where one selection is made."""
    if arm.redraw:
        raise SelectionError(
            f"the arm {arm.name!r} is drawn anew for every epoch of a training, and a selection is one of its draws",
            "leave `redraw` out; for the draw of a later epoch, take draw_seed(seed, epoch) as the seed",
        )


def check_draws(draws: Sequence[Selection]) -> None:
    """Raise SelectionError unless all draws of an arm keep as many rows, and not always the same ones.

    With as many rows in every epoch, steps and learning rates are those of a fixed selection.
    """
    first = draws[0]
    for other in draws[1:]:
        if other.counts[KEPT] != first.counts[KEPT]:
            raise SelectionError(
                f"the draws {first.uri!r} and {other.uri!r} of {first.name!r} keep {first.counts[KEPT]:,} and "
                f"{other.counts[KEPT]:,} rows, and every epoch needs as many as the first",
                "give the budget as a share or a number of rows, and leave out limits that contradict each other",
            )
    if len(draws) > 1 and len({draw.digest for draw in draws}) == 1:
        raise SelectionError(
            f"all {len(draws)} draws of {first.name!r} keep the same rows, so there is nothing to draw anew",
            "leave `redraw` out, or lower the share that is kept by score",
        )
