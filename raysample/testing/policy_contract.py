"""The contract of every policy, built-in or plug-in: `check_policy(cls)` raises AssertionError for what it breaks."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.core.registry import identify, import_class
from raysample.selection import choose_rows, select
from raysample.selection.policies import (
    POLICY_REGISTRY,
    Chain,
    Policy,
    Rows,
    create_policy,
    policy_columns,
    row_hash,
    steps_of,
)
from raysample.selection.stages import FATE_KEPT, FATE_OPEN, keys
from raysample.testing.expectations import expect

HIGHER_IS = {"vog": "harder", "aum": "easier", "dual": "harder", "confidence": "easier"}
"""The score columns of the rows that policies are checked on, and what a high value of each means."""

TableColumns = dict[str, npt.NDArray[Any]]
BUDGETS: tuple[float, ...] = (370, 0.8)
SEEDS = 120
UNKNOWN_OPTION = "no_such_option"


def columns(sizes: tuple[int, ...] = (700, 200, 100), seed: int = 0) -> TableColumns:
    """Return ids, labels and the scores of HIGHER_IS for rows of classes of those sizes; `aum` has many ties."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    n = len(label)
    p, nothing = rng.beta(4, 2, n), np.full(n, None, object)
    return {
        "row_id": np.array([f"row-{i}" for i in range(n)], object),
        "label": label,
        "vog": rng.lognormal(label, 1.5).astype(np.float32),
        "aum": np.round(rng.normal(label, 1), 1).astype(np.float32),
        "dual": (p * (1 - p)).astype(np.float32),
        "confidence": p.astype(np.float32),
        "group": np.where(rng.random(n) < 0.05, nothing, (60 * rng.random(n) ** 3).astype(int).astype(str)),
    }


def rows(of: TableColumns, at: Any = slice(None)) -> Rows:
    """Return some of the rows as policies see them."""
    return Rows.from_columns(
        of["row_id"][at], of["label"][at], {name: of[name][at] for name in HIGHER_IS}, of["group"][at]
    )


def check_policy(kind: type[Policy] | type[Chain], **settings: Any) -> None:
    """Hold a policy class against the contract; the arm is `example`, with the settings given here.

    Checked on 1,000 rows of three classes with the scores `vog`, `aum`, `dual` and `confidence`: found again by its
    path; picklable; an unknown option is refused; the budget is met exactly and no row is kept twice; same seed, same
    rows; the order and layout of the rows change nothing; the rows are those of a slow twin, which sorts all keys of a
    stratum; another seed changes what is drawn; and weights of 1 over the chance to be kept are unbiased, for a
    policy that draws (over the rows that it may keep, where it declares `drops`).

    Raises:
        AssertionError: a promise that the class does not keep, in words.

    Example:
        >>> from raysample.selection.policies import POLICIES
        >>> check_policy(POLICIES["hard"])
    """
    arm = _arm(kind, settings)
    policy = create_policy(arm, HIGHER_IS)
    _check_class(kind, policy, arm)
    for budget in BUDGETS:
        _check_budget(kind, policy, budget)
        _check_sorted(kind, policy, budget)
    if steps_of(policy)[-1].policy.chance != "sure":
        _check_draws(kind, policy)


def _arm(kind: type[Any], settings: Mapping[str, Any]) -> ArmConfig:
    """Return the arm of a policy class: its example, and these settings."""
    expect(isinstance(kind, type) and issubclass(kind, (Policy, Chain)), f"{kind!r} derives from raysample.Policy")
    return ArmConfig.model_validate({"policy": configured_policy_name(kind), **kind.example, **settings})


def configured_policy_name(kind: type[Any]) -> str:
    """Return how a configuration calls a policy class: by its name, or by its path if it is a plug-in."""
    known = {found: name for name, found in POLICY_REGISTRY.builtin.items()}
    return known[kind] if kind in known else identify("policy", kind).path


def _check_class(kind: type[Any], policy: Policy | Chain, arm: ArmConfig) -> None:
    """Check a policy as a value, and that it refuses what it does not know."""
    called = kind.__name__
    expect(is_dataclass(kind) and kind.__dataclass_params__.frozen, f"{called} is a frozen dataclass")  # type: ignore[attr-defined]
    expect(bool(kind.__doc__), f"{called} has a docstring")
    expect(isinstance(kind.version, str) and kind.version != "", f"{called}.version is a string")
    path = identify("policy", kind).path
    expect(import_class(path) is kind, f"a worker finds {called} as {path!r}: define it at the top of a module")
    again = pickle.loads(pickle.dumps(policy))  # noqa: S301 - made on this line
    expect(again == policy, f"{called} pickles and compares equal")
    unknown = arm.model_copy(update={"options": {**arm.options, UNKNOWN_OPTION: 1}})
    try:
        create_policy(unknown, HIGHER_IS)
    except SelectionError as error:
        expect(UNKNOWN_OPTION in str(error), f"{called} names the option that it does not know")
    else:
        raise AssertionError(f"{called}.from_arm refuses an option that it does not know (read_options does)")
    strange = set(policy_columns(policy)) - set(HIGHER_IS)
    expect(not strange, f"the example of {called} goes by {', '.join(HIGHER_IS)}, not by {', '.join(strange)}")


def _check_budget(kind: type[Any], policy: Policy | Chain, budget: float) -> None:
    """Check that a budget is met exactly, whatever the order and layout of the rows."""
    data, called = columns(), kind.__name__
    count = round(budget * len(data["label"])) if budget < 1 else int(budget)
    whole = choose_rows([rows(data)], policy, budget, seed=5)[0]
    expect(int(whole.sum()) == count, f"{called} keeps {count} rows, not {int(whole.sum())}")
    same = choose_rows([rows(data)], policy, budget, seed=5)[0]
    expect(np.array_equal(whole, same), f"{called} keeps the same rows with the same seed")
    order = np.random.default_rng(1).permutation(len(whole))
    cuts = [order[:1], order[1:1], order[1:400], order[400:]]
    pieces = choose_rows([rows(data, cut) for cut in cuts], policy, budget, seed=5)
    told = f"{called} keeps the same rows in any order and layout"
    expect(all(np.array_equal(kept, whole[cut]) for cut, kept in zip(cuts, pieces, strict=True)), told)


def _check_sorted(kind: type[Any], policy: Policy | Chain, budget: float) -> None:
    """Check that the engine, which only counts, keeps what a sort of the keys keeps, step by step and per stratum."""
    data = rows(columns())
    plan = select(lambda: [data], policy, budget, seed=5)
    fate = np.full(len(data), FATE_OPEN, np.int8)
    for stage in plan.stages:
        places = np.flatnonzero(fate == FATE_OPEN)
        left = data.take(places)
        strata = stage.policy.strata(left, stage.facts)
        # Highest key first; equal keys by the seeded hash of the row id.
        order = np.lexsort((row_hash(left, stage.facts), keys(left, stage.policy, stage.facts)))[::-1]
        taken = np.zeros(len(left), np.bool_)
        for stratum, quota in zip(stage.cut.groups, stage.cut.quota, strict=True):
            taken[order[strata[order] == stratum][:quota]] = True
        fate[places] = stage.fates(taken)
    same = np.array_equal(fate == FATE_KEPT, plan.keep(data))
    expect(same, f"{kind.__name__} keeps the rows of the highest keys in each stratum")


def _check_draws(kind: type[Any], policy: Policy | Chain) -> None:
    """Check that seeds matter, and that sums over the kept rows, weighted by 1 / chance, are unbiased."""
    data, budget = rows(columns((60, 25, 15))), 40
    found = [select(lambda: [data], policy, budget, seed).judge(data) for seed in range(SEEDS)]
    kept = np.array([one.kept for one in found])
    expect(bool((kept != kept[0]).any()), f"{kind.__name__} draws other rows with another seed")
    if any(step.role != "choose" for step in steps_of(policy)):
        return  # rows that were dropped or kept before the draw have no known chance
    chance = np.array([one.chance for one in found])
    values = data.scores["confidence"].astype(np.float64)
    if getattr(kind, "drops", False):
        expect(bool((chance == 0).all(0).any()), f"{kind.__name__} drops rows, as it declares")
        values[(chance == 0).all(0)] = 0
    sums = np.where(kept, values / np.maximum(chance, 1e-12), 0.0).sum(1)
    error = abs(sums.mean() - values.sum())
    bound = 5 * sums.std(ddof=1) / np.sqrt(SEEDS) + 1e-9
    expect(error <= bound, f"weights of {kind.__name__} are unbiased: off by {error:.3g}, more than {bound:.3g}")
