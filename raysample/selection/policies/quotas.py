"""Quotas: distribute a budget over the corpus, in proportion to the classes, or equally among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from raysample.core.arrays import IntArray
from raysample.core.errors import SelectionError
from raysample.selection.policies.base import GlobalStatistics, Policy, Rows

Quota = Literal["corpus", "proportional", "balanced"]
Share = Callable[[IntArray, int], IntArray]


def proportional(counts: IntArray, budget: int) -> IntArray:
    """Share by largest remainder (Hamilton): floor(b·n_g/n), then one more for the largest fractions until b is met.

    Every group gets floor or ceil of its exact share. Equal fractions: the larger group first, then the earlier one.
    """
    total = sum(counts.tolist())
    shares = [divmod(budget * n, total) for n in counts.tolist()]
    quotas = np.array([whole for whole, _ in shares], dtype=np.int64)
    order = sorted(range(len(shares)), key=lambda g: (-shares[g][1], -int(counts[g]), g))
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


def bounded(share: Share, counts: IntArray, budget: int, min_rows: int | None, max_rows: int | None) -> IntArray:
    """Share so that every group of n rows gets at least min(n, min_rows) and at most `max_rows`, else as `share` does.

    Groups whose share violates a bound are set to it, beginning with the side that misses by more rows in total; the
    rest of the budget is then shared again among the others.

    Raises:
        SelectionError: the floors need more than the budget, or the caps leave less.
    """
    low = np.minimum(counts, min_rows or 0)
    high = counts if max_rows is None else np.minimum(counts, max_rows)
    _check_bounds(low, high, budget)
    quotas, free = np.zeros(len(counts), np.int64), np.ones(len(counts), bool)
    while free.any():
        shares = share(counts[free], budget - int(quotas[~free].sum()))
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
    """Raise SelectionError if floors and caps contradict each other or the budget."""
    if (low > high).any():
        raise SelectionError("a class must keep more rows than it may", "set min_per_class to max_per_class or less")
    if low.sum() > budget:
        raise SelectionError(
            f"the floors of all classes together need {int(low.sum()):,} rows, the budget is {budget:,}",
            "lower min_per_class, or raise the budget",
        )
    if high.sum() < budget:
        raise SelectionError(
            f"the caps of all classes together leave {int(high.sum()):,} rows, the budget is {budget:,}",
            "raise max_per_class, or lower the budget",
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
        """Return the quotas by the rule `quota`, within the bounds."""
        if self.quota == "corpus" or (self.min_rows is None and self.max_rows is None):
            return SHARES[self.quota](counts, budget)
        return bounded(SHARES[self.quota], counts, budget, self.min_rows, self.max_rows)

    def stratum_name(self, stratum: int, labels: Sequence[str]) -> str:
        """Return `all`, or the class."""
        return "all" if self.quota == "corpus" else labels[stratum]
