"""Options of a policy beside score, normalisation and quota: reading and checking; unknown options are errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.selection.policies.base import Higher


def read_options(arm: ArmConfig, known: Iterable[str] = ()) -> dict[str, Any]:
    """Return the arm's options; raises SelectionError for one that the policy does not know."""
    names = tuple(known)
    for name in arm.options:
        if name not in names:
            close = difflib.get_close_matches(name, [*names, *type(arm).model_fields], n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            its = f"its options: {', '.join(names)}" if names else "it has no options of its own"
            raise SelectionError(f"policy {arm.policy!r} has no option {name!r}", hint + its)
    return dict(arm.options)


def number_option(given: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    """Return an option that is a number in [low, high]; raises SelectionError for anything else."""
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= float(value) <= high:
        raise SelectionError(f"option {name!r} is {value!r}", f"give a number from {low:g} to {high:g}")
    return float(value)


def which_end(given: Mapping[str, Any]) -> Higher:
    """Return the option `keeps`, the preferred end of the score; default `harder`."""
    value = given.get("keeps", "harder")
    for end in get_args(Higher):
        if value == end:
            return end  # type: ignore[no-any-return]
    raise SelectionError(f"option 'keeps' is {value!r}", "give harder or easier")


def direction(arm: ArmConfig, score: str | None, higher_is: Mapping[str, str]) -> tuple[str, Higher]:
    """Return a score and what a high value of it means; raises SelectionError if either is unknown."""
    if score is None:
        raise SelectionError(
            f"policy {arm.policy!r} goes by a score, and none is named",
            f"name one, for example policy: {arm.policy}, score: vog",
        )
    for end in get_args(Higher):
        if higher_is.get(score) == end:
            return score, end
    raise SelectionError(
        f"nothing tells whether a high {score!r} is harder or easier; what is known: {dict(higher_is)}",
        "choose one of these scores, or score again",
    )


def named_option(given: Mapping[str, Any], name: str, known: tuple[str, ...]) -> str:
    """Return an option that is one of some names, by default the first; raises SelectionError for anything else."""
    value = given.get(name, known[0])
    if value not in known:
        raise SelectionError(f"option {name!r} is {value!r}", f"give {' or '.join(known)}")
    return str(value)


def known_column(arm: ArmConfig, column: str, higher_is: Mapping[str, str]) -> str:
    """Return the name of a score column whose direction does not matter; raises SelectionError if there is none."""
    if column not in higher_is:
        raise SelectionError(
            f"policy {arm.policy!r} goes by the column {column!r}; there are {', '.join(higher_is) or 'none'}",
            f"compute {column!r} into the score table, or name one of those columns (score: COLUMN)",
        )
    return column


def class_budget(arm: ArmConfig, given: Mapping[str, Any], power: float = 1.0) -> dict[str, Any]:
    """Return the fields `power` and `min_rows` of a policy with class quotas by a power of size (`PowerBudgeted`).

    The option `power` in [0, 1] is `power` if not given; `quota: proportional` means 1, `quota: balanced` 0. With
    `weights: unbiased` every class keeps a row at least: a class without one would have no chance.

    Raises:
        SelectionError: the arm has an option `power` and a quota, or the power is outside [0, 1].
    """
    if "power" in given and arm.quota != "corpus":
        raise SelectionError(
            f"policy {arm.policy!r} has power: {given['power']!r} and quota: {arm.quota}, both set the class budgets",
            "leave one of them out; power: 1 is quota: proportional, power: 0 is quota: balanced",
        )
    usual = {"corpus": power, "proportional": 1.0, "balanced": 0.0}[arm.quota]
    min_rows = 1 if arm.weights == "unbiased" else None
    return {"power": number_option(given, "power", usual, 0, 1), "min_rows": min_rows}


def no_normalisation(arm: ArmConfig) -> None:
    """Raise SelectionError if an arm normalises a score that its policy ranks within classes or does not compare."""
    if arm.normalise != "none":
        raise SelectionError(
            f"policy {arm.policy!r} has no use for normalise: {arm.normalise}", "leave `normalise` out"
        )


def only_corpus(arm: ArmConfig, *, normalise: bool = True) -> None:
    """Raise SelectionError for a quota, or a normalisation, that the policy does not support."""
    if arm.quota != "corpus":
        raise SelectionError(
            f"policy {arm.policy!r} shares its budget by itself and cannot follow quota: {arm.quota}",
            "leave `quota` out; for classes that must not vanish set min_per_class",
        )
    if normalise:
        no_normalisation(arm)


def several(arm: ArmConfig, given: Mapping[str, Any], higher_is: Mapping[str, str]) -> dict[str, tuple[Higher, float]]:
    """Return the option `scores`: each score's direction and weight; a list means equal weights.

    Raises:
        SelectionError: there is no score, a direction is not known, or a weight is not a positive number.
    """
    scores = given.get("scores")
    weights = dict.fromkeys(scores, 1.0) if isinstance(scores, (list, tuple)) else scores
    if arm.score is not None or not isinstance(weights, Mapping) or not weights:
        raise SelectionError(
            f"policy {arm.policy!r} goes by several scores, got scores: {scores!r}, score: {arm.score!r}",
            "list them: scores: [vog, el2n], or with weights: scores: {vog: 2, el2n: 1}",
        )
    return {
        name: (direction(arm, name, higher_is)[1], number_option(weights, name, 1.0, 1e-9, 1e9))
        for name in map(str, weights)
    }
