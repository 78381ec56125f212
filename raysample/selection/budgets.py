"""What a budget may be: a share of the rows, a count of them, or as many as fit into a number of tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from raysample.core.errors import SelectionError
from raysample.selection.engine import RoomError, SelectionPlan


@dataclass(frozen=True)
class Tokens:
    """A budget: tokens that the kept rows have together at most."""

    count: int


def fit_token_budget(
    settle: Callable[[int], SelectionPlan], weigh: Callable[[SelectionPlan], int], budget: int, rows: int, total: int
) -> SelectionPlan:
    """Return the plan of the row count whose kept rows fit into a token budget, while those of one more do not.

    Any policy can be asked, since only its row counts are tried: by the secant between a count that fits and one that
    does not, halving where that is slow. Where tokens do not grow with every row (quotas may shift), it is one such
    count, the same for any layout of the data.

    Args:
        settle: the plan of a row count. weigh: the tokens of its kept rows.
        budget: tokens. rows, total: how many rows there are, and their tokens.

    Raises:
        SelectionError: the budget is more than all tokens, or no row fits into it; or as `settle` does.
    """
    if not 1 <= budget <= total:
        raise SelectionError(f"cannot keep {budget:,} of {total:,} tokens", f"give a number from 1 to {total:,}")
    if budget == total:
        return settle(rows)
    # Counts of kept rows with their tokens: the first is known to fit, the second not to, or limits forbid it.
    low, below, high, above = 0, 0, rows, total
    found: SelectionPlan | None = None
    under: RoomError | None = None
    over: RoomError | None = None
    turn = 0
    while high - low > 1:
        guess = low + round((budget - below) * (high - low) / (above - below)) if turn % 3 < 2 else (low + high) // 2
        guess, turn = min(max(guess, low + 1), high - 1), turn + 1
        try:
            plan = settle(guess)
        except RoomError as error:
            if error.raising:
                low, found, under = guess, None, error
            else:
                high, over = guess, error
            continue
        tokens = weigh(plan)
        if tokens <= budget:
            low, below, found = guess, tokens, plan
        else:
            high, above, over = guess, tokens, None
    if over is not None or (found is None and under is not None):
        raise over or under  # type: ignore[misc]
    if found is None:
        raise SelectionError(f"no row fits into {budget:,} tokens", "give a larger budget")
    return found


def asked_budget(fraction: float | None, count: int | None, tokens: int | None) -> float | Tokens:
    """Return the one budget that was given: a fraction (float), a count (int) or Tokens; raises SelectionError."""
    given = {"fraction": fraction, "count": count, "tokens": tokens}
    if sum(value is not None for value in given.values()) != 1:
        told = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise SelectionError(f"a budget is a fraction, a count of rows or of tokens, got {told}", "give exactly one")
    if tokens is not None:
        return Tokens(tokens)
    if count is not None:
        return count
    assert fraction is not None
    return fraction if isinstance(fraction, bool) else float(fraction)


def share_of(budget: float | Tokens, rows: int, tokens: int) -> float:
    """Return a budget as a share of the rows, or of the tokens."""
    if isinstance(budget, Tokens):
        return budget.count / max(1, tokens)
    return budget / max(1, rows) if isinstance(budget, int) else budget
