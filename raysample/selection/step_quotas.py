"""How many rows a step takes from each stratum: by its size, by a limit, or by a share of the budget's quotas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raysample.core.arrays import IntArray
from raysample.core.errors import SelectionError
from raysample.core.numerics import radix
from raysample.selection.policies.base import Policy
from raysample.selection.policies.quotas import BudgetConflictError, proportional, within_bounds
from raysample.selection.policies.steps import Counts, QuotaShare, Step
from raysample.selection.stages import Stage


def budget_of(rows: int, budget: float) -> int:
    """Return the number of rows to keep: `budget` itself if an integer, round(budget * rows) if a fraction.

    Raises:
        SelectionError: the fraction is outside (0, 1) or less than one row, or the count is outside [1, rows].
    """
    if isinstance(budget, (int, np.integer)) and not isinstance(budget, bool):
        if not 1 <= budget <= rows:
            raise SelectionError(f"cannot keep {budget:,} of {rows:,} rows", f"give a count from 1 to {rows:,}")
        return int(budget)
    if isinstance(budget, bool) or not 0 < budget < 1:
        raise SelectionError(
            f"a fraction lies between 0 and 1, got {budget!r}", "give a fraction such as 0.5, or a count of rows"
        )
    count = round(budget * rows)
    if count < 1:
        raise SelectionError(f"{budget:g} of {rows:,} rows is less than one row", "give a larger fraction, or a count")
    return count


def rows_decided(stages: Sequence[Stage]) -> tuple[int, int]:
    """Return the number of rows that the stages kept, and the number that they dropped."""
    kept = sum(int(stage.cut.quota.sum()) for stage in stages if stage.step.role == "keep")
    dropped = sum(int((stage.cut.rows - stage.cut.quota).sum()) for stage in stages if stage.step.role == "drop")
    return kept, dropped


def step_quotas(step: Step, strata: IntArray, rows: IntArray, standing: radix.Histogram, counts: Counts) -> IntArray:
    """Return the number of rows that a step takes from each stratum, [S], checked against its rows and the budget.

    Args:
        step: the step.
        strata, rows: the strata with open rows, rising, and the number of these rows.
        standing: rows that earlier steps kept, by stratum.
        counts: totals at the beginning of the step.

    Raises:
        SelectionError: the policy's quotas do not sum to the step's size, or are more than a stratum's rows.
        BudgetConflictError: the step keeps more, or leaves fewer, rows than the budget needs.
    """
    if step.limit is not None:
        quotas = step.limit.quotas(strata, rows, _aligned(standing, strata))
        check_budget(step, int(quotas.sum()), counts)
        return quotas
    if step.quota_share is not None:
        quotas = _part_of_quotas(step.policy, step.quota_share, strata, rows, standing, counts.budget)
        size = counts.left if step.role == "choose" else int(quotas.sum())
    else:
        size = step.size(counts)
        quotas = step.policy.quotas(strata, rows, size) if len(strata) and 0 <= size <= counts.open else rows * 0
    check_budget(step, size, counts)
    if int(quotas.sum()) != size or (quotas < 0).any() or (quotas > rows).any():
        raise SelectionError(
            f"{type(step.policy).__name__} shares {size:,} rows as {quotas.tolist()} among strata of {rows.tolist()}",
            "mend the policy's quotas: between 0 and the stratum's rows, summing to the budget",
        )
    return quotas


def _aligned(standing: radix.Histogram, strata: IntArray) -> IntArray:
    """Return the number of kept rows of each stratum, [S], 0 where there are none."""
    kept = np.zeros(len(strata), np.int64)
    known = np.isin(standing.group, strata)
    kept[np.searchsorted(strata, standing.group[known])] = standing.count[known]
    return kept


def _part_of_quotas(
    policy: Policy, part: QuotaShare, strata: IntArray, rows: IntArray, standing: radix.Histogram, budget: int
) -> IntArray:
    """Return how many open rows of each stratum bring its kept rows to the share of its quota of the whole budget, [S].

    The quotas are those of all open and kept rows, so that they do not depend on what earlier steps kept. The share is
    rounded over all strata together: `round(share * budget)` rows, in proportion to the quotas, by largest remainder.
    """
    every = np.union1d(strata, standing.group)
    kept, place = _aligned(standing, every), np.searchsorted(every, strata)
    all_rows = kept.copy()
    all_rows[place] += rows
    goal = policy.quotas(every, all_rows, budget)
    if part.share < 1 or part.leave:
        bound = np.where(goal < all_rows, np.maximum(goal - part.leave, 0), goal)
        size, quota = min(round(part.share * budget), int(bound.sum())), goal
        goal = within_bounds(lambda free, left: proportional(quota[free], left), np.zeros_like(bound), bound, size)
    taken: IntArray = (goal - kept)[place]
    return taken


def check_budget(step: Step, size: int, counts: Counts) -> None:
    """Raise BudgetConflictError if a step keeps more, or leaves fewer, rows than the budget needs."""
    if step.role == "keep" and size > counts.left:
        raise BudgetConflictError(
            f"{step.name!r} keeps {size:,} rows, and {counts.left:,} of the budget of {counts.budget:,} are left",
            "raise the budget, or lower what must be kept",
            raising=True,
        )
    left = size if step.role == "drop" else counts.open
    if step.role != "keep" and left < counts.left:
        raise BudgetConflictError(
            f"{step.name or 'the policy'!r} leaves {left:,} rows, the budget needs {counts.left:,} of them",
            "lower the budget, or drop fewer rows",
            raising=False,
        )
