"""How many rows a step of a policy takes from each stratum, checked against its rows and the budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raysample.core.arrays import IntArray
from raysample.core.errors import SelectionError
from raysample.core.numerics import radix
from raysample.selection.policies.steps import Counts, Step
from raysample.selection.stages import Stage


class BudgetConflictError(SelectionError):
    """A budget and a policy's limits conflict; `raising`: a larger budget helps, otherwise a smaller one."""

    def __init__(self, problem: str, advice: str, *, raising: bool) -> None:
        super().__init__(problem, advice)
        self.raising = raising


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
    """Return the number of rows that a step takes from each stratum, checked against its rows and the budget."""
    if step.limit is not None:
        # `standing` has the strata of kept rows only; align its counts with `strata`, 0 for the others.
        beside = np.zeros(len(strata), np.int64)
        known = np.isin(standing.group, strata)
        beside[np.searchsorted(strata, standing.group[known])] = standing.count[known]
        quotas = step.limit.quotas(strata, rows, beside)
        size = int(quotas.sum())
    else:
        size = step.size(counts)
        quotas = step.policy.quotas(strata, rows, size) if len(strata) and 0 <= size <= counts.open else rows * 0
        if int(quotas.sum()) != size or (quotas < 0).any() or (quotas > rows).any():
            check_budget(step, size, counts)
            raise SelectionError(
                f"{type(step.policy).__name__} shares {size:,} rows as {quotas.tolist()} among strata of "
                f"{rows.tolist()}",
                "mend the policy's quotas: between 0 and the stratum's rows, summing to the budget",
            )
    check_budget(step, size, counts)
    return quotas


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
