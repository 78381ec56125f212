"""Base class of policies that keep the head of a ranking by several scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raysample.selection.policies.base import GlobalStatistics, Higher, Rows
from raysample.selection.policies.quotas import Budgeted, Quota


@dataclass(frozen=True)
class Blended(Budgeted):
    """Several scores, each oriented so that the kept end is high, and compared by their ranks in (0, 1).

    Attributes:
        scores: (column, what a high value means, weight) of each.
        quota: as in `raysample.core.config.ArmConfig`.
        min_rows, max_rows: bounds of rows per class, if classes are strata.
    """

    scores: tuple[tuple[str, Higher, float], ...]
    keeps: Higher = "harder"
    quota: Quota = "corpus"
    min_rows: int | None = None
    max_rows: int | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The scores."""
        return tuple(name for name, _, _ in self.scores)

    @property
    def ranked(self) -> tuple[str, ...]:
        """All score columns."""
        return self.columns

    def ranks(self, rows: Rows, facts: GlobalStatistics) -> dict[str, npt.NDArray[np.float64]]:
        """Return each score's ranks, [n] in (0, 1), near 1 for the kept end."""
        result = {}
        for name, end, _ in self.scores:
            rank = facts.ranks[name](rows.scores[name])
            result[name] = rank if end == self.keeps else 1 - rank
        return result

    def average(self, ranks: Mapping[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        """Return the weighted mean of the ranks, in (0, 1)."""
        total = sum(weight for _, _, weight in self.scores)
        result: npt.NDArray[np.float64] = sum(
            (ranks[name] * (weight / total) for name, _, weight in self.scores), np.zeros(())
        )
        return result
