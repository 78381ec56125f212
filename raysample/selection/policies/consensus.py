"""`consensus`: keep what most scores, or most slices of a target, agree on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import numpy as np

from raysample.core.arrays import Float32Array
from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.selection.policies.base import GlobalStatistics, Rows
from raysample.selection.policies.blended import Blended
from raysample.selection.policies.options import number_option, read_options, several, which_end


@final
@dataclass(frozen=True)
class Consensus(Blended):
    """Key: the weighted votes plus the mean rank in (0, 1), which breaks ties.

    Every score votes for the rows in the top share `top` of its ranking (Wu et al., 2025, arXiv 2501.00654, whose code
    breaks ties at random). Weights apply to the votes; they must be at least 1, so that ranks only break ties.
    """

    example: ClassVar[Mapping[str, Any]] = {"scores": ["vog", "aum", "dual"], "top": 0.3}

    top: float = 0.2

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return the policy with options `scores`, `top` in (0, 1) (0.2) and `keeps` (harder)."""
        given = read_options(arm, ("scores", "top", "keeps"))
        if arm.normalise != "none":
            raise SelectionError("policy 'consensus' compares ranks, which no normalisation changes", "leave it out")
        scores = tuple((name, *spec) for name, spec in several(arm, given, higher_is).items())
        if min(weight for _, _, weight in scores) < 1:
            raise SelectionError("a vote weighs less than 1, which a mean of ranks could outweigh", "scale the weights")
        return cls(scores, which_end(given), arm.quota, top=number_option(given, "top", 0.2, 1e-3, 0.999))

    def key(self, rows: Rows, facts: GlobalStatistics) -> Float32Array:
        """Return votes + mean rank."""
        ranks = self.ranks(rows, facts)
        votes = np.sum([weight * (ranks[name] > 1 - self.top) for name, _, weight in self.scores], axis=0)
        key: Float32Array = (votes + self.average(ranks)).astype(np.float32)
        return key
