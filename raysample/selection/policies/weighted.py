"""Base class of policies that draw rows without replacement, with probabilities by weight."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import Float32Array
from raysample.core.config import ArmConfig
from raysample.core.numerics.exact_moments import standardise
from raysample.selection.policies.base import Chance, GlobalStatistics, Grouping, Higher, Rows, uniform
from raysample.selection.policies.options import direction
from raysample.selection.policies.quotas import Budgeted, Quota

Doubles = npt.NDArray[np.float64]


def gumbel_key(
    log_weight: Doubles,
    rows: Rows,
    facts: GlobalStatistics,
    draw: Callable[[Rows, GlobalStatistics], Doubles] = uniform,
) -> Float32Array:
    """Return ln w + Gumbel noise, [n]: the rows with the k largest values are a weighted draw without replacement.

    The noise is −ln(−ln u) of the random number u in (0, 1) that `draw` returns for each row.

    This equals drawing k rows one after the other, each with probability proportional to w among the remaining rows
    (Efraimidis and Spirakis, Inf. Process. Lett. 97 (2006); Kool et al., ICML 2019, arXiv 1903.06059).
    """
    with np.errstate(divide="ignore"):
        key: Float32Array = (log_weight - np.log(-np.log(draw(rows, facts)))).astype(np.float32)
    return key


@dataclass(frozen=True)
class Weighted(Budgeted):
    """Rows of a stratum are drawn one after the other, each with a probability proportional to its weight.

    Attributes:
        score: the column. higher_is: what a high value of it means. keeps: the preferred end.
        normalise, quota: as in `ArmConfig`.
        min_rows, max_rows: bounds of rows per class, if classes are strata.
    """

    score: str
    higher_is: Higher
    keeps: Higher = "harder"
    normalise: Grouping = "none"
    quota: Quota = "corpus"
    min_rows: int | None = None
    max_rows: int | None = None

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return the policy; raises SelectionError without a score of known direction, or for an invalid option."""
        score, end = direction(arm, arm.score, higher_is)
        return cls(score, end, normalise=arm.normalise, quota=arm.quota, **cls.own(arm))

    @staticmethod
    @abstractmethod
    def own(arm: ArmConfig) -> dict[str, Any]:
        """Return the policy's own options by field."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The score."""
        return (self.score,)

    @property
    def moments_over(self) -> Grouping:
        """The groups to normalise by."""
        return self.normalise

    @property
    def chance(self) -> Chance:
        """Drawn by weight."""
        return "weight"

    def values(self, rows: Rows, facts: GlobalStatistics) -> Float32Array:
        """Return the score, normalised, and oriented so that the preferred end is high."""
        return self.turned(self._normalised(rows.scores[self.score], rows.label, facts))

    def turned(self, values: Float32Array) -> Float32Array:
        """Return values with the preferred end high."""
        return values if self.higher_is == self.keeps else np.negative(values)

    def bounds(self, facts: GlobalStatistics) -> tuple[float, float]:
        """Return the smallest and the largest of all rows' `values`."""
        groups = np.arange(len(facts.extremes[self.score][0]))
        both = [self.turned(self._normalised(ends, groups, facts)) for ends in facts.extremes[self.score]]
        ends = np.concatenate(both)
        ends = ends[np.isfinite(ends)]
        return float(ends.min()), float(ends.max())

    def _normalised(
        self, values: Float32Array, label: npt.NDArray[np.integer], facts: GlobalStatistics
    ) -> Float32Array:
        """Return values as z-scores of their class or of the corpus, or unchanged."""
        if self.normalise == "none":
            return values
        group = label if self.normalise == "class" else np.zeros(len(values), np.int64)
        return standardise(values, group, facts.moments[self.score])

    def key(self, rows: Rows, facts: GlobalStatistics) -> Float32Array:
        """Ln w + Gumbel noise."""
        return gumbel_key(self.log_weight(rows, facts), rows, facts)
