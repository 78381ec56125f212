"""How a budget is shared: over the corpus, in proportion to the classes, or alike for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from raysample.policies.base import Facts, IntArray, Policy, Rows

Quota = Literal["corpus", "proportional", "balanced"]


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
    """Share by water-filling: min(n_g, level) each, so that small groups give all and the others give alike.

    What the level leaves over (fewer rows than groups above it) goes one by one to the largest of these groups.
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


SHARES: dict[str, Callable[[IntArray, int], IntArray]] = {
    "corpus": proportional,  # one stratum: the whole budget
    "proportional": proportional,
    "balanced": balanced,
}


class Budgeted(Policy):
    """A policy with one stratum, or with the classes as strata and a share of the budget for each."""

    quota: Quota

    def strata(self, rows: Rows, facts: Facts) -> IntArray:  # noqa: ARG002 - the policies' signature
        """Return 0 for every row where the budget is the corpus's, else its class."""
        return np.zeros(len(rows), np.int64) if self.quota == "corpus" else rows.label.astype(np.int64)

    def quotas(self, strata: IntArray, counts: IntArray, budget: int) -> IntArray:  # noqa: ARG002
        """Share the budget as `quota` says."""
        return SHARES[self.quota](counts, budget)

    def stratum_name(self, stratum: int, labels: Sequence[str]) -> str:
        """Return `all`, or the class."""
        return "all" if self.quota == "corpus" else labels[stratum]
