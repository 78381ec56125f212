"""`beta`: DUAL's sampler, which prefers easier rows the smaller the budget is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import numpy as np

from raysample.core.arrays import Float32Array
from raysample.core.config import ArmConfig
from raysample.selection.policies.base import Anchor, Chance, GlobalStatistics, Higher, Rows
from raysample.selection.policies.options import direction, number_option, only_corpus, read_options
from raysample.selection.policies.quotas import Budgeted, Quota
from raysample.selection.policies.weighted import Doubles, gumbel_key

SPREAD = 15.0
NEAR = 1e-6  # mean predictions are clipped this far from 0 and 1, where the density may be unbounded


@final
@dataclass(frozen=True)
class Beta(Budgeted):
    """Weight: score · Beta(p̄; a, b), p̄ the mean probability of the label over training (column `mean`).

    With r the pruned share of rows and μ the mean of p̄ over the ten rows with the highest score: b = 15 (1 − μ)(1 −
    r^c), a = 16 − b. A small budget gives b near 0 and prefers p̄ near 1. Drawn without replacement (Cho et al., 2025,
    arXiv 2502.06905; its code adds 1 to a, as here). `c` is smaller for harder tasks; the paper uses 4 to 11.
    """

    example: ClassVar[Mapping[str, Any]] = {"score": "dual"}

    score: str
    mean: str
    mean_is: Higher
    c: float = 4.0
    quota: Quota = "corpus"
    min_rows: int | None = None
    max_rows: int | None = None

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return the policy; raises SelectionError if `score` (such as dual) or `mean` (confidence) is unknown."""
        only_corpus(arm)
        given = read_options(arm, ("mean", "c"))
        score, _ = direction(arm, arm.score, higher_is)
        mean, end = direction(arm, str(given.get("mean", "confidence")), higher_is)
        return cls(score, mean, end, number_option(given, "c", 4.0, 0.1, 100))

    @property
    def columns(self) -> tuple[str, ...]:
        """The score and the mean probability."""
        return (self.score, self.mean)

    @property
    def anchored(self) -> tuple[Anchor, ...]:
        """The mean probability of the ten highest scores."""
        return (Anchor(self.mean, self.score),)

    @property
    def chance(self) -> Chance:
        """Drawn by weight."""
        return "weight"

    def shape(self, facts: GlobalStatistics) -> tuple[float, float]:
        """Return a and b."""
        pruned = 1 - facts.budget / facts.total
        b = SPREAD * (1 - facts.anchors[self.mean]) * (1 - pruned**self.c)
        return SPREAD + 1 - b, b

    def log_weight(self, rows: Rows, facts: GlobalStatistics) -> Doubles:
        """Return ln score + (a − 1) ln p̄ + (b − 1) ln(1 − p̄), up to a constant; −∞ for a score of 0 or less."""
        a, b = self.shape(facts)
        p = np.clip(rows.scores[self.mean].astype(np.float64), NEAR, 1 - NEAR)
        with np.errstate(divide="ignore"):
            score = np.log(np.maximum(rows.scores[self.score].astype(np.float64), 0))
        result: Doubles = score + (a - 1) * np.log(p) + (b - 1) * np.log1p(-p)
        return result

    def key(self, rows: Rows, facts: GlobalStatistics) -> Float32Array:
        """Ln w + Gumbel noise."""
        return gumbel_key(self.log_weight(rows, facts), rows, facts)
