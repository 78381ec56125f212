"""`mix`: keep the head of a ranking by the weighted mean of several scores' ranks."""

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
class Mix(Blended):
    """Key: Σ w_s · rank_s / Σ w_s, every rank in (0, 1), scores oriented so that the end `keeps` is high.

    Ranks are exact to 1/8192, from histograms (`raysample.core.numerics.ranks`). A mean of ranks is Borda's count; the
    founding paper averages a score with an auxiliary difficulty of each class in this way (arXiv 2311.16298, App. C.6):
    the entropy of its slot-label trails, H_c = −Σ_t p(t|c) log2 p(t|c). Where the corpus's groups are such trails (or
    templates, sources, …), `group_entropy` is the weight w of that rank; rows of a class share it.
    """

    example: ClassVar[Mapping[str, Any]] = {"scores": {"vog": 2, "aum": 1}}

    group_entropy: float = 0.0

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return it with options `scores` (list, or weights by name), `keeps` (harder) and `group_entropy` (0)."""
        given = read_options(arm, ("scores", "keeps", "group_entropy"))
        if arm.normalise != "none":
            raise SelectionError("policy 'mix' compares ranks, which no normalisation changes", "leave it out")
        scores = several(arm, given, higher_is)
        named = tuple((name, *spec) for name, spec in scores.items())
        return cls(named, which_end(given), arm.quota, group_entropy=number_option(given, "group_entropy", 0.0, 0, 1e9))

    @property
    def grouped(self) -> bool:
        """Whether the entropy of groups has a weight."""
        return self.group_entropy > 0

    @property
    def entropies(self) -> bool:
        """Whether the entropy of groups has a weight."""
        return self.group_entropy > 0

    def key(self, rows: Rows, facts: GlobalStatistics) -> Float32Array:
        """Return the weighted mean of the ranks."""
        mean = self.average(self.ranks(rows, facts))
        if facts.class_ranks is not None:
            rank = facts.class_ranks[rows.label]
            own = sum(weight for _, _, weight in self.scores)
            mean = (own * mean + self.group_entropy * (rank if self.keeps == "harder" else 1 - rank)) / (
                own + self.group_entropy
            )
        return mean.astype(np.float32)
