"""The candidates of a race: arms, the scores that they read, and the rows that they keep."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from raysample.core.config import ArmConfig
from raysample.selection.engine import select
from raysample.selection.policies import create_policy, policy_columns
from raysample.selection.policies.base import Rows
from raysample.selection.probe.probe_scores import PROBE_HIGHER_IS
from raysample.selection.redraws import is_random

INCUMBENT = ArmConfig(policy="stratified_random")
"""What is taken unless a candidate is shown to be better."""

_SUSPECTS = "out_of_fold_confidence"


def _without(share: float) -> dict[str, Any]:
    """Return the settings that drop a share of rows with the lowest out-of-fold confidence first."""
    return {"drop_suspects": {"score": _SUSPECTS, "share": share}}


_ARMS: tuple[dict[str, Any], ...] = (
    {"policy": "stratified_random", **_without(0.03)},
    {"policy": "stratified_random", **_without(0.1)},
    {"policy": "stratified_random", **_without(0.2)},
    {"policy": "coverage", "score": "probe_aum"},
    {"policy": "coverage", "score": "probe_aum", "drop": 0.2},
    {"policy": "window", "score": "probe_el2n", "start": 0.05},
    {"policy": "middle", "score": "probe_aum"},
    {"policy": "easy", "score": "probe_aum", "quota": "proportional"},
    {"policy": "hard", "score": "probe_el2n", "quota": "proportional"},
    {"policy": "linear", "score": "probe_el2n", **_without(0.03)},
    {"policy": "tilted", "score": "probe_el2n", "strength": 0.5},
    {"policy": "tilted", "score": "probe_el2n", "strength": 1},
    {"policy": "tilted", "score": "probe_el2n", "strength": 1, **_without(0.05)},
    {"policy": "tilted", "score": _SUSPECTS, "strength": 1},
    {"policy": "tilted", "score": "probe_el2n", "strength": 0.5, "within": "corpus"},
    {"policy": "hedge", "score": "probe_el2n", "share": 0.2},
    {"policy": "class_power", "power": 0.5},
    {"policy": "thinned", "threshold": 0.9},
    {"policy": "thinned", "threshold": 0.8, "power": 0.5},
    {"policy": "thinned", "threshold": 0.9, **_without(0.05)},
)


def portfolio(scores: Collection[str] = tuple(PROBE_HIGHER_IS), cut_offs: bool = False) -> tuple[ArmConfig, ...]:
    """Return the candidates of a race by default: samplers, which keep rows everywhere, and cut-offs if wanted.

    A probe on frozen features flatters cut-offs, which keep the rows beyond a value of a score: it has no features to
    learn from the others. So they race only where fine-tuning has the last word. Arms that read other scores than the
    given ones are left out.

    >>> len(portfolio()), len(portfolio(cut_offs=True))
    (16, 20)
    """
    arms = (ArmConfig.model_validate(arm) for arm in _ARMS)
    known = [arm for arm in arms if scores_of([arm], PROBE_HIGHER_IS) <= set(scores)]
    return tuple(arm for arm in known if cut_offs or is_random(create_policy(arm, PROBE_HIGHER_IS)))


@dataclass(frozen=True, eq=False)
class Draw:
    """One selection: the weights of the rows, [N], 0 for pruned rows."""

    weights: npt.NDArray[np.float32]

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """Which rows are kept, [N]."""
        return self.weights > 0


def scores_of(arms: Iterable[ArmConfig], higher_is: Mapping[str, str]) -> frozenset[str]:
    """Return the score columns that arms read. Raises SelectionError for an arm that no policy can be built of."""
    return frozenset(name for arm in arms for name in policy_columns(create_policy(arm, higher_is)))


def draw_selections(
    rows: Rows, arm: ArmConfig, higher_is: Mapping[str, str], share: float, seeds: Sequence[int]
) -> list[Draw]:
    """Return a selection of a share of the rows for each seed, drawn exactly as `write_selection` does.

    Raises:
        SelectionError: the arm cannot be followed on these rows.
    """
    policy = create_policy(arm, higher_is)
    found = []
    for seed in seeds:
        plan = select(lambda: [rows], policy, share, seed)
        judged = plan.judge(rows)
        weights = judged.kept.astype(np.float32)
        if plan.reweights:
            np.divide(1, judged.chance, out=weights, where=judged.kept, casting="same_kind")
        found.append(Draw(weights))
    return found


def draw_overlap(draws: Sequence[Draw]) -> float:
    """Return ρ, how much two draws of an arm have in common beyond chance: 1 for equal draws, 0 for independent ones.

    ρ = (s − k) / (1 − k), s the shared part of the kept rows and k the kept share; the mean over pairs of draws.

    >>> one, other = (Draw(np.array(kept, np.float32)) for kept in ([1, 1, 0, 0], [1, 0, 1, 0]))
    >>> draw_overlap([one, one]), draw_overlap([one, other])
    (1.0, 0.0)
    """
    kept = np.stack([draw.kept for draw in draws])
    share, count = float(kept.mean()), len(draws)
    if share in (0.0, 1.0) or count < 2:
        return 1.0
    pairs = [(kept[i] & kept[j]).mean() / share for i in range(count) for j in range(i)]
    return float(np.clip((np.mean(pairs) - share) / (1 - share), 0.0, 1.0))
