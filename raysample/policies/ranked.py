"""What the policies share that keep the head of a ranking by one score."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, get_args

import numpy as np

from raysample.config import ArmConfig
from raysample.errors import SelectionError
from raysample.numerics.exact_moments import standardise
from raysample.policies.base import Facts, FloatArray, Grouping, Higher, Rows
from raysample.policies.quotas import Budgeted, Quota


@dataclass(frozen=True)
class Ranked(Budgeted):
    """Key: ±score, or ±z with z = (score - mean_class) / std_class (population; z = 0 where a class has no spread).

    A z-score over the corpus, or over classes that have their own budgets, ranks within each stratum as the raw score
    does. The key is then the raw score itself: the same set, without the ties that rounding z to float32 would make.

    Attributes:
        score: the column. higher_is: what a high value of it means.
        normalise, quota: as in `raysample.config.ArmConfig`.
    """

    score: str
    higher_is: Higher
    normalise: Grouping = "none"
    quota: Quota = "corpus"

    @property
    @abstractmethod
    def keeps(self) -> Higher:
        """Which end of the ranking is kept."""

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Build it; raises SelectionError without a score, or when the score's direction is not known."""
        if arm.score is None:
            raise SelectionError(
                f"policy {arm.policy!r} ranks rows by a score, and none is named",
                f"name one, for example policy: {arm.policy}, score: vog",
            )
        for direction in get_args(Higher):
            if higher_is.get(arm.score) == direction:
                return cls(arm.score, direction, arm.normalise, arm.quota)
        raise SelectionError(
            f"nothing tells whether a high {arm.score!r} is harder or easier; what is known: {dict(higher_is)}",
            "choose one of these scores, or score again",
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The score."""
        return (self.score,)

    @property
    def moments_over(self) -> Grouping:
        """Classes, where rows of several of them compete by their z-scores."""
        return "class" if self.normalise == "class" and self.quota == "corpus" else "none"

    def key(self, rows: Rows, facts: Facts) -> FloatArray:
        """±score or ±z, so that the kept end is high."""
        values = rows.scores[self.score]
        if self.moments_over == "class":
            values = standardise(values, rows.label, facts.moments[self.score])
        return values if self.higher_is == self.keeps else np.negative(values)
