"""`mix`: keep the head of a ranking by the weighted mean of several scores' ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, final

import numpy as np

from raysample.config import ArmConfig
from raysample.errors import SelectionError
from raysample.policies.base import Facts, FloatArray, Rows
from raysample.policies.blended import Blended
from raysample.policies.options import options, several, which_end


@final
@dataclass(frozen=True)
class Mix(Blended):
    """Key: Σ w_s · rank_s / Σ w_s, every rank in (0, 1), its score turned so that the end `keeps` is high.

    Ranks are told to 1/8192 at worst, from counts (`raysample.numerics.ranks`). A mean of ranks is Borda's count; the
    founding paper averages a score with an auxiliary difficulty in this way (arXiv 2311.16298, App. C.6).
    """

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Build it with options `scores` (a list, or weights by name) and `keeps` (harder)."""
        given = options(arm, ("scores", "keeps"))
        if arm.normalise != "none":
            raise SelectionError("policy 'mix' compares ranks, which no normalisation changes", "leave it out")
        scores = several(arm, given, higher_is)
        return cls(tuple((name, *told) for name, told in scores.items()), which_end(given), arm.quota)

    def key(self, rows: Rows, facts: Facts) -> FloatArray:
        """Return the weighted mean of the ranks."""
        return self.average(self.ranks(rows, facts)).astype(np.float32)
