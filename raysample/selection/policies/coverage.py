"""`coverage`: equally many rows from every interval of a score, after the hardest rows are dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import numpy as np

from raysample.core.arrays import Float32Array, IntArray
from raysample.core.config import ArmConfig
from raysample.selection.policies.base import Chance, GlobalStatistics, Grouping, Policy, Rows, drawn_key
from raysample.selection.policies.easy import Easy
from raysample.selection.policies.options import direction, number_option, only_corpus, read_options
from raysample.selection.policies.quotas import balanced
from raysample.selection.policies.steps import Chain, Step, StepSize


@final
@dataclass(frozen=True)
class Bins(Policy):
    """Strata: `bins` intervals of equal width between the smallest and the largest value of a score; key: random."""

    example: ClassVar[Mapping[str, Any]] = {"score": "vog", "bins": 20, "drop": 0.1}

    score: str
    bins: int

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return the policy with option `bins` from 1 to 10,000 (50); raises SelectionError for an unknown score."""
        score, _ = direction(arm, arm.score, higher_is)
        return cls(score, round(number_option(arm.options, "bins", 50, 1, 10_000)))

    @property
    def columns(self) -> tuple[str, ...]:
        """The score."""
        return (self.score,)

    @property
    def moments_over(self) -> Grouping:
        """The corpus, for its extremes."""
        return "corpus"

    @property
    def extremes(self) -> bool:
        """Yes: the ends of the intervals."""
        return True

    @property
    def chance(self) -> Chance:
        """Drawn uniformly."""
        return "lot"

    def strata(self, rows: Rows, facts: GlobalStatistics) -> IntArray:
        """Return ⌊bins · (x − min) / (max − min)⌋, the largest value in the last interval; 0 if all are equal."""
        low, high = (float(ends[0]) for ends in facts.extremes[self.score])
        if high <= low:
            return np.zeros(len(rows), np.int64)
        place = (rows.scores[self.score].astype(np.float64) - low) / (high - low) * self.bins
        return np.clip(place, 0, self.bins - 1).astype(np.int64)

    def key(self, rows: Rows, facts: GlobalStatistics) -> Float32Array:
        """Uniform in [0, 1)."""
        return drawn_key(rows, facts)

    def quotas(self, strata: IntArray, counts: IntArray, budget: int) -> IntArray:  # noqa: ARG002
        """Return equal quotas for intervals with enough rows; smaller intervals keep all rows."""
        return balanced(counts, budget)

    def stratum_name(self, stratum: int, labels: Sequence[str]) -> str:  # noqa: ARG002
        """Return the interval's number from below."""
        return f"{self.score} {stratum + 1}/{self.bins}"


@final
@dataclass(frozen=True)
class Coverage(Chain):
    """Coverage-centric selection: drop the hardest share `drop`, then draw equally from `bins` score intervals.

    Zheng et al., ICLR 2023, arXiv 2210.15809; DEALRec's sampler is the same (Lin et al., SIGIR 2024, arXiv 2401.17197;
    its code drops 0.1, with 50 groups). Their loop over the intervals from the smallest is water-filling.
    """

    drop: float
    dropped: Easy
    bins: Bins

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return it with options `bins` (50) and `drop` in [0, 1) (0.1); raises SelectionError as `hard` does."""
        only_corpus(arm)
        drop = number_option(read_options(arm, ("bins", "drop")), "drop", 0.1, 0, 0.999)
        plain = arm.model_copy(update={"options": {}})
        return cls(drop, Easy.from_arm(plain, higher_is), Bins.from_arm(arm, higher_is))

    @property
    def steps(self) -> tuple[Step, ...]:
        """Drop, then choose."""
        hardest = StepSize(of_open=1, of_total=-self.drop)
        return (Step(self.dropped, "drop", hardest, name=f"the hardest {self.drop:g}"), Step(self.bins))
