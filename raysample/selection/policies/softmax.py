"""`softmax`: draw rows with weights proportional to exp(score / temperature)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

from raysample.core.config import ArmConfig
from raysample.selection.policies.base import GlobalStatistics, Rows
from raysample.selection.policies.options import number_option, read_options, which_end
from raysample.selection.policies.weighted import Doubles, Weighted


@final
@dataclass(frozen=True)
class Softmax(Weighted):
    """Weight: exp(v / T) with v the score, preferably normalised (`normalise: corpus` or `class`: z-scores).

    A high temperature T approaches `random`, a low one `hard`. Drawn without replacement: the probability of a row is
    proportional to its weight among the remaining rows (Anand et al., EMNLP 2023, arXiv 2311.16298, App. B.2, without a
    value of T).
    """

    example: ClassVar[Mapping[str, Any]] = {"score": "vog", "normalise": "corpus", "temperature": 0.7}

    temperature: float = 1.0

    @staticmethod
    def own(arm: ArmConfig) -> dict[str, Any]:
        """`temperature` > 0 (1), `keeps` (harder)."""
        given = read_options(arm, ("temperature", "keeps"))
        return {"temperature": number_option(given, "temperature", 1.0, 1e-6, 1e6), "keeps": which_end(given)}

    def log_weight(self, rows: Rows, facts: GlobalStatistics) -> Doubles:
        """Return v / T."""
        return self.values(rows, facts).astype("float64") / self.temperature
