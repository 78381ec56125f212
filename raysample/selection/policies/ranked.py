"""Base class of policies that keep the head of a ranking by one score."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from raysample.core.arrays import Float32Array
from raysample.core.config import ArmConfig
from raysample.core.numerics.exact_moments import standardise
from raysample.selection.policies.base import GlobalStatistics, Grouping, Higher, Rows
from raysample.selection.policies.options import direction, read_options
from raysample.selection.policies.quotas import Budgeted, Quota


@dataclass(frozen=True)
class Ranked(Budgeted):
    """Key: ±score, or ±z with z = (score - mean_class) / std_class (population; z = 0 for a constant class).

    A z-score over the corpus, or over classes with budgets of their own, ranks each stratum like the raw score. The key
    is then the raw score itself: the same set, without the ties from rounding z to float32.

    Attributes:
        score: the column. higher_is: what a high value of it means.
        normalise, quota: as in `ArmConfig`.
        min_rows, max_rows: bounds of rows per class, if classes are strata.
    """

    score: str
    higher_is: Higher
    normalise: Grouping = "none"
    quota: Quota = "corpus"
    min_rows: int | None = None
    max_rows: int | None = None

    @property
    @abstractmethod
    def keeps(self) -> Higher:
        """Which end of the ranking is kept."""

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return the policy; raises SelectionError without a score, or if its direction is unknown."""
        read_options(arm)
        score, end = direction(arm, arm.score, higher_is)
        return cls(score, end, arm.normalise, arm.quota)

    @property
    def columns(self) -> tuple[str, ...]:
        """The score."""
        return (self.score,)

    @property
    def moments_over(self) -> Grouping:
        """Classes, if rows of several classes compete by their z-scores."""
        return "class" if self.normalise == "class" and self.quota == "corpus" else "none"

    def key(self, rows: Rows, facts: GlobalStatistics) -> Float32Array:
        """Return ±score or ±z, so that the kept end is high."""
        values = rows.scores[self.score]
        if self.moments_over == "class":
            values = standardise(values, rows.label, facts.moments[self.score])
        return values if self.higher_is == self.keeps else np.negative(values)
