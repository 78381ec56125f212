"""`thinned`: draw rows uniformly within each class, near-duplicates of earlier rows last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import numpy as np

from raysample.core.arrays import Float32Array, IntArray, Mask
from raysample.core.config import ArmConfig
from raysample.selection.policies.base import Chance, GlobalStatistics, Rows, drawn_key
from raysample.selection.policies.options import (
    class_budget,
    known_column,
    no_normalisation,
    number_option,
    read_options,
)
from raysample.selection.policies.quotas import PowerBudgeted, Quota, by_power, check_class_budget, within_bounds

SIMILARITY = "nearest_similarity"
"""Column with each row's cosine similarity to the nearest earlier row."""


def near_duplicates(similarity: Float32Array, threshold: float) -> Mask:
    """Return [n] whether a row is a near-duplicate of an earlier one: its `similarity` [n] exceeds the threshold."""
    near: Mask = similarity > np.float32(threshold)
    return near


@final
@dataclass(frozen=True)
class Thinned(PowerBudgeted):
    """Class budgets by the power of a class's distinct rows; near-duplicates are kept only if distinct rows run out.

    A row is a near-duplicate if its cosine similarity to the nearest earlier row (column `score`) exceeds `threshold`.
    Of a class with d_c distinct rows, min(d_c, λ d_c^p) are drawn, p = `power`. If the budget exceeds all distinct
    rows, these are all kept, and the rest of the budget is shared in the same way among the near-duplicates. Without
    near-duplicates the policy is `class_power`, and with p = 1 `stratified_random`, of the same seed.

    The idea is that of semantic deduplication (Abbas et al. 2023, arXiv 2303.09540), which prunes within clusters and
    keeps the row that is farthest from the centre; here the earliest row of a chain of near-duplicates stays.

    Attributes:
        column: the similarities. threshold: similarity above which a row is a near-duplicate.
        power: of the class sizes. quota: always `proportional`, which makes the classes strata.
        min_rows, max_rows: bounds of rows per class.

    >>> from raysample.selection import choose_rows
    >>> similarity = {"nearest_similarity": [0.1, 0.99, 0.98, 0.2, 0.3, 0.97]}
    >>> rows = Rows.from_columns(list("abcdef"), [0, 0, 0, 0, 1, 1], similarity)
    >>> policy = Thinned.from_arm(ArmConfig(policy="thinned", threshold=0.9), {"nearest_similarity": "easier"})
    >>> choose_rows([rows], policy, budget=3)[0].tolist()
    [True, False, False, True, True, False]
    """

    example: ClassVar[Mapping[str, Any]] = {"score": "confidence", "threshold": 0.7}
    drops: ClassVar[bool] = True

    column: str = SIMILARITY
    threshold: float = 0.95
    power: float = 1.0
    quota: Quota = "proportional"
    min_rows: int | None = None
    max_rows: int | None = None

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return the policy with options `threshold` in [-1, 1] (0.95) and `power` in [0, 1] (1).

        The column is `nearest_similarity` unless the arm names a `score`.

        Raises:
            SelectionError: there is no such column, or an option is invalid.
        """
        given = read_options(arm, ("threshold", "power"))
        no_normalisation(arm)
        column = known_column(arm, SIMILARITY if arm.score is None else arm.score, higher_is)
        return cls(column, number_option(given, "threshold", 0.95, -1, 1), **class_budget(arm, given))

    @property
    def columns(self) -> tuple[str, ...]:
        """The similarities."""
        return (self.column,)

    @property
    def chance(self) -> Chance:
        """Drawn uniformly."""
        return "lot"

    def strata(self, rows: Rows, facts: GlobalStatistics) -> IntArray:  # noqa: ARG002 - the policies' signature
        """Return 2y for distinct rows of class y, and 2y + 1 for near-duplicates."""
        near = near_duplicates(rows.scores[self.column], self.threshold)
        return 2 * rows.label.astype(np.int64) + near

    def key(self, rows: Rows, facts: GlobalStatistics) -> Float32Array:
        """Uniform in [0, 1), and in [−1, 0) for near-duplicates, so that a cap of groups prefers distinct rows, too."""
        # The difference is exact: both are multiples of 2^-24 below 1.
        return drawn_key(rows, facts) - near_duplicates(rows.scores[self.column], self.threshold).astype(np.float32)

    def quotas(self, strata: IntArray, counts: IntArray, budget: int) -> IntArray:
        """Return the quotas: each class's total within the bounds, its distinct rows before its near-duplicates.

        Raises:
            BudgetConflictError: the budget is less than one row per class.
        """
        classes, place = np.unique(strata // 2, return_inverse=True)
        check_class_budget(len(classes), budget)
        near = strata % 2 == 1
        distinct, copies = np.zeros(len(classes), np.int64), np.zeros(len(classes), np.int64)
        distinct[place[~near]], copies[place[near]] = counts[~near], counts[near]
        rows = distinct + copies
        high = rows if self.max_rows is None else np.minimum(rows, self.max_rows)

        def shared(free: Mask, left: int) -> IntArray:
            """Share rows among some classes: distinct ones, then near-duplicates."""
            first = min(left, int(distinct[free].sum()))
            return by_power(distinct[free], first, self.power) + by_power(copies[free], left - first, self.power)

        total = within_bounds(shared, np.minimum(rows, self.min_rows or 0), high, budget)
        of_distinct = np.minimum(total, distinct)
        quotas: IntArray = np.where(near, (total - of_distinct)[place], of_distinct[place])
        return quotas

    def stratum_name(self, stratum: int, labels: Sequence[str]) -> str:
        """Return the class, or `near-duplicates of` it."""
        return f"near-duplicates of {labels[stratum // 2]}" if stratum % 2 else labels[stratum // 2]
