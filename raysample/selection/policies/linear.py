"""`linear`: draw rows with weights proportional to the score, mapped to [ε, 1]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from raysample.core.config import ArmConfig
from raysample.selection.policies.base import GlobalStatistics, Grouping, Rows
from raysample.selection.policies.options import number_option, read_options, which_end
from raysample.selection.policies.weighted import Doubles, Weighted


@final
@dataclass(frozen=True)
class Linear(Weighted):
    """Weight: ε + (1 − ε)(v − min v) / (max v − min v), v the (normalised) score; 1 if all v are equal.

    The easiest row still has ε of the hardest one's weight (Anand et al., EMNLP 2023, arXiv 2311.16298, App. C.3, who
    give no ε). Normalising over the corpus changes nothing here; within classes it does.
    """

    example: ClassVar[Mapping[str, Any]] = {"score": "vog", "epsilon": 0.05}

    epsilon: float = 0.01

    @staticmethod
    def own(arm: ArmConfig) -> dict[str, Any]:
        """`epsilon` in (0, 1] (0.01), `keeps` (harder)."""
        given = read_options(arm, ("epsilon", "keeps"))
        return {"epsilon": number_option(given, "epsilon", 0.01, 1e-9, 1.0), "keeps": which_end(given)}

    @property
    def moments_over(self) -> Grouping:
        """The classes if normalised by class; else the corpus, for its extremes."""
        return "class" if self.normalise == "class" else "corpus"

    @property
    def extremes(self) -> bool:
        """True: the ends of the affine map."""
        return True

    def log_weight(self, rows: Rows, facts: GlobalStatistics) -> Doubles:
        """Return ln of the weight."""
        low, high = self.bounds(facts)
        values = self.values(rows, facts).astype(np.float64)
        share = (values - low) / (high - low) if high > low else np.ones(len(rows))
        result: Doubles = np.log(self.epsilon + (1 - self.epsilon) * np.clip(share, 0, 1))
        return result
