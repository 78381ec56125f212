"""Budgets: a share of the rows, a number of rows, or as many rows as fit into a number of tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from raysample.core.errors import SelectionError
from raysample.selection.engine import SelectionPlan
from raysample.selection.policies.quotas import BudgetConflictError


@dataclass(frozen=True)
class Tokens:
    """A budget in tokens: the maximum number of tokens of all kept rows together."""

    count: int


def fit_token_budget(
    settle: Callable[[int], SelectionPlan], weigh: Callable[[SelectionPlan], int], budget: int, rows: int, total: int
) -> SelectionPlan:
    """Return a plan whose kept rows fit into a token budget while one more row would not.

    Works for any policy, since it only tries row counts: by the secant between a count that fits and one that does not,
    with a bisection every third try. If tokens do not grow monotonically with the row count (quotas may shift), the
    result is one such count; it is the same for any layout of the data.

    Args:
        settle: returns the plan for a row count.
        weigh: returns the tokens of a plan's kept rows.
        budget: tokens.
        rows, total: number of rows, and their tokens.

    Raises:
        SelectionError: the budget is more than all tokens, or no row fits into it; or as `settle` does.
    """
    if not 1 <= budget <= total:
        raise SelectionError(f"cannot keep {budget:,} of {total:,} tokens", f"give a number from 1 to {total:,}")
    if budget == total:
        return settle(rows)
    # Invariant: `low` rows (with `below` tokens) fit and `high` rows (with `above` tokens) do not, or a limit of the
    # policy forbids the count: `under` if it needs more rows than `low`, `over` if it allows fewer than `high`.
    low, below, high, above = 0, 0, rows, total
    result: SelectionPlan | None = None
    under: BudgetConflictError | None = None
    over: BudgetConflictError | None = None
    turn = 0
    while high - low > 1:
        # Two secant steps, then one bisection: fast on smooth token counts, and at most about 3 log2(rows) plans.
        guess = low + round((budget - below) * (high - low) / (above - below)) if turn % 3 < 2 else (low + high) // 2
        guess, turn = min(max(guess, low + 1), high - 1), turn + 1
        try:
            plan = settle(guess)
        except BudgetConflictError as error:
            if error.raising:
                low, result, under = guess, None, error
            else:
                high, over = guess, error
            continue
        tokens = weigh(plan)
        if tokens <= budget:
            low, below, result = guess, tokens, plan
        else:
            high, above, over = guess, tokens, None
    if over is not None or (result is None and under is not None):
        raise over or under  # type: ignore[misc]
    if result is None:
        raise SelectionError(f"no row fits into {budget:,} tokens", "give a larger budget")
    return result


def requested_budget(fraction: float | None, count: int | None, tokens: int | None) -> float | Tokens:
    """Return the one requested budget: a fraction (float), a count (int) or Tokens; raises SelectionError."""
    given = {"fraction": fraction, "count": count, "tokens": tokens}
    if sum(value is not None for value in given.values()) != 1:
        listed = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise SelectionError(f"a budget is a fraction, a count of rows or of tokens, got {listed}", "give exactly one")
    if tokens is not None:
        return Tokens(tokens)
    if count is not None:
        return count
    assert fraction is not None
    return fraction if isinstance(fraction, bool) else float(fraction)
