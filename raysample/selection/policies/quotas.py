"""Quotas: one budget for the corpus, or shares of it for the classes: in proportion, equally, by a power of size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Context, Decimal, localcontext
from typing import Literal

import numpy as np

from raysample.core.arrays import IntArray, Mask
from raysample.core.errors import SelectionError
from raysample.selection.policies.base import GlobalStatistics, Policy, Rows

Quota = Literal["corpus", "proportional", "balanced"]
Share = Callable[[IntArray, int], IntArray]
ShareOfSome = Callable[[Mask, int], IntArray]

DIGITS = 30
"""Decimals of a class size's power: decimal arithmetic is equal on every machine, powers of floats are not."""


class BudgetConflictError(SelectionError):
    """A budget and a policy's limits conflict; `raising`: a larger budget helps, otherwise a smaller one."""

    def __init__(self, problem: str, advice: str, *, raising: bool) -> None:
        super().__init__(problem, advice)
        self.raising = raising


def proportional(counts: IntArray, budget: int) -> IntArray:
    """Share by largest remainder (Hamilton): floor(b·n_g/n), then one more for the largest fractions until b is met.

    Every group gets floor or ceil of its exact share. Equal fractions: the larger group first, then the earlier one.
    """
    return _largest_remainder(counts, counts.tolist(), budget)


def _largest_remainder(counts: IntArray, weights: Sequence[int], budget: int, decimals: int | None = None) -> IntArray:
    """Share in proportion to integer weights, [G]; equal fractions: the larger group first, then the earlier one.

    `decimals`: places to which fractions are compared, for weights that are rounded themselves; exactly by default.
    """
    total = max(1, sum(weights))
    shares = [divmod(budget * weight, total) for weight in weights]
    quotas = np.array([whole for whole, _ in shares], dtype=np.int64)
    parts = [part if decimals is None else (part * 10**decimals + total // 2) // total for _, part in shares]
    order = sorted(range(len(shares)), key=lambda g: (-parts[g], -int(counts[g]), g))
    quotas[order[: budget - int(quotas.sum())]] += 1
    return quotas


def balanced(counts: IntArray, budget: int) -> IntArray:
    """Share by water-filling: min(n_g, level) each, so that small groups keep all rows and the others equally many.

    The remainder (fewer rows than groups above the level) goes one by one to the largest of these groups.
    """
    quotas = np.zeros(len(counts), dtype=np.int64)
    left = budget
    rising = np.argsort(counts, kind="stable")
    for done, group in enumerate(rising.tolist()):
        level, extra = divmod(left, len(counts) - done)
        if counts[group] > level:
            above = rising[done:]
            quotas[above] = level
            quotas[sorted(above.tolist(), key=lambda g: (-int(counts[g]), g))[:extra]] += 1
            break
        quotas[group] = counts[group]
        left -= int(counts[group])
    return quotas


def by_power(counts: IntArray, budget: int, power: float) -> IntArray:
    """Share by a power of size: min(n_g, λ n_g^p) each, λ such that the sum is the budget; p in [0, 1].

    A group whose share exceeds its rows keeps all of them, and what is left is shared again among the others, rounded
    by largest remainder. p = 1 is `proportional`, p = 0 is `balanced`, p = 0.5 square-root sampling (Mahajan et al.,
    ECCV 2018, arXiv 1805.00932; Kang et al., ICLR 2020, arXiv 1910.09217, equation 1, without the cap).

    >>> by_power(np.array([900, 100, 25]), 180, 0.5).tolist()  # 30 : 10 : 5 would give 120, 40, 20
    [120, 40, 20]
    >>> by_power(np.array([900, 100, 4]), 180, 0.5).tolist()  # the smallest class has 4 rows, not 9
    [132, 44, 4]
    """
    weights = _powers(counts, power)
    quotas, left, total = np.zeros(len(counts), np.int64), budget, sum(weights)
    # n / n^p rises with n, so groups are exhausted in the order of their size.
    rising = np.argsort(counts, kind="stable")
    for done, group in enumerate(rising.tolist()):
        if left * weights[group] < int(counts[group]) * total:
            rest = np.sort(rising[done:])
            quotas[rest] = _largest_remainder(counts[rest], [weights[g] for g in rest.tolist()], left, DIGITS // 2)
            break
        quotas[group] = counts[group]
        left -= int(counts[group])
        total -= weights[group]
    return quotas


def _powers(counts: IntArray, power: float) -> list[int]:
    """Return n^p of each count in units of 10^-DIGITS, rounded; 0 for an empty group."""
    with localcontext(Context(prec=2 * DIGITS)):
        exponent = Decimal(repr(float(power)))
        found = [Decimal(n) ** exponent if n else Decimal(0) for n in counts.tolist()]
        return [int(value.scaleb(DIGITS).to_integral_value()) for value in found]


def bounded(share: Share, counts: IntArray, budget: int, min_rows: int | None, max_rows: int | None) -> IntArray:
    """Share so that every group of n rows gets at least min(n, min_rows) and at most `max_rows`, else as `share` does.

    Groups whose share violates a bound are set to it, beginning with the side that misses by more rows in total; the
    rest of the budget is then shared again among the others.

    Raises:
        BudgetConflictError: the floors need more than the budget, or the caps leave less.
    """
    low = np.minimum(counts, min_rows or 0)
    high = counts if max_rows is None else np.minimum(counts, max_rows)
    return within_bounds(lambda free, left: share(counts[free], left), low, high, budget)


def within_bounds(share: ShareOfSome, low: IntArray, high: IntArray, budget: int) -> IntArray:
    """Share as `share` does among some groups (a mask), so that every group gets at least `low` and at most `high`.

    Raises:
        SelectionError: as `bounded`.
    """
    _check_bounds(low, high, budget)
    quotas, free = np.zeros(len(low), np.int64), np.ones(len(low), bool)
    while free.any():
        shares = share(free, budget - int(quotas[~free].sum()))
        under, over = np.maximum(low[free] - shares, 0), np.maximum(shares - high[free], 0)
        if not (under.any() or over.any()):
            quotas[free] = shares
            break
        bound = under > 0 if under.sum() >= over.sum() else over > 0
        places = np.flatnonzero(free)[bound]
        quotas[places] = low[places] if under.sum() >= over.sum() else high[places]
        free[places] = False
    return quotas


def _check_bounds(low: IntArray, high: IntArray, budget: int) -> None:
    """Raise SelectionError if floors and caps contradict each other, BudgetConflictError if they do the budget."""
    if (low > high).any():
        raise SelectionError("a class must keep more rows than it may", "set min_per_class to max_per_class or less")
    if low.sum() > budget:
        raise BudgetConflictError(
            f"the floors of all classes together need {int(low.sum()):,} rows, the budget is {budget:,}",
            "lower min_per_class, or raise the budget",
            raising=True,
        )
    if high.sum() < budget:
        raise BudgetConflictError(
            f"the caps of all classes together leave {int(high.sum()):,} rows, the budget is {budget:,}",
            "raise max_per_class, or lower the budget",
            raising=False,
        )


SHARES: dict[str, Share] = {
    "corpus": proportional,  # one stratum: the whole budget
    "proportional": proportional,
    "balanced": balanced,
}


class Budgeted(Policy):
    """A policy with one stratum, or with the classes as strata and a quota for each.

    If the classes are the strata, each keeps at least `min_rows` and at most `max_rows` rows.
    """

    quota: Quota
    min_rows: int | None
    max_rows: int | None

    def strata(self, rows: Rows, facts: GlobalStatistics) -> IntArray:  # noqa: ARG002 - the policies' signature
        """Return 0 for every row if `quota` is `corpus`, else its class."""
        return np.zeros(len(rows), np.int64) if self.quota == "corpus" else rows.label.astype(np.int64)

    def quotas(self, strata: IntArray, counts: IntArray, budget: int) -> IntArray:  # noqa: ARG002
        """Return the quotas by `share`, within the bounds."""
        if self.quota == "corpus" or (self.min_rows is None and self.max_rows is None):
            return self.share(counts, budget)
        return bounded(self.share, counts, budget, self.min_rows, self.max_rows)

    def share(self, counts: IntArray, budget: int) -> IntArray:
        """Share a budget by the rule `quota`."""
        return SHARES[self.quota](counts, budget)

    def stratum_name(self, stratum: int, labels: Sequence[str]) -> str:
        """Return `all`, or the class."""
        return "all" if self.quota == "corpus" else labels[stratum]


class PowerBudgeted(Budgeted):
    """A policy whose classes have quotas by a power of their size (`by_power`), unless `quota` is `corpus`."""

    power: float

    def quotas(self, strata: IntArray, counts: IntArray, budget: int) -> IntArray:
        """Return the quotas by power, within the bounds.

        Raises:
            BudgetConflictError: the budget is less than one row per class.
        """
        if self.quota != "corpus":
            check_class_budget(len(counts), budget)
        return super().quotas(strata, counts, budget)

    def share(self, counts: IntArray, budget: int) -> IntArray:
        """Share by the power of size."""
        return by_power(counts, budget, self.power)


def check_class_budget(classes: int, budget: int) -> None:
    """Raise BudgetConflictError if a budget is less than one row per class."""
    if budget < classes:
        raise BudgetConflictError(
            f"a budget of {budget:,} rows is less than one row for each of {classes:,} classes",
            f"keep {classes:,} rows or more, or choose policy random",
            raising=True,
        )
