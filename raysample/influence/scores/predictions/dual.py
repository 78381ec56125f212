"""DUAL: how much the label's probability moves, weighed by how low it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.influence.scores.window_score import WindowScore


def dual(window: Tensor) -> Tensor:
    """Return std · (1 − mean), the std with ddof 1, of the gold probabilities of J consecutive checkpoints [J, B], [B].

    In [0, √(J / (4 (J − 1)))].
    """
    return window.std(0) * (1 - window.mean(0))


@final
@dataclass(frozen=True)
class Dual(WindowScore):
    """Difficulty and uncertainty: mean over all windows of J consecutive checkpoints of std(p_y) · (1 − mean(p_y)).

    Range [0, √(J / (4 (J − 1)))], below √½; high is harder: uncertain, and rarely right.

    `window` is J; with fewer checkpoints one window holds them all.

    Designed for: the first part of one run (30 of 200 epochs), with J = 10.

    Source: Cho et al., ICML 2025, arXiv 2502.06905.

    What differs: J is 5, so that a run of ten checkpoints has several windows, and all checkpoints count, since a
    fine-tuning is short; `checkpoints: {first: n}` takes the beginning. Their code multiplies by ten. Their beta
    sampling is a policy's business.
    """

    name: ClassVar[str] = "dual"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"

    def of_window(self, probabilities: Tensor) -> Tensor:
        """Return the value of one window, [B]."""
        return dual(probabilities)
