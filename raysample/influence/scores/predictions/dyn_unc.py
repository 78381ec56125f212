"""Dyn-Unc: how much the label's probability moves within stretches of the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.influence.scores.window_score import WindowScore


def dyn_unc(window: Tensor) -> Tensor:
    """Return the standard deviation (ddof 1) of the gold probabilities of J consecutive checkpoints [J, B], [B].

    In [0, √(J / (4 (J − 1)))].
    """
    return window.std(0)


@final
@dataclass(frozen=True)
class DynUnc(WindowScore):
    """Dynamic uncertainty: mean over all windows of J consecutive checkpoints of the deviation (ddof 1) of p_y there.

    Range [0, √(J / (4 (J − 1)))], that is at most √½ (J = 2); high is harder.

    `window` is J; with fewer checkpoints one window holds them all, and the score ranks exactly as `variability` does.

    Designed for: the checkpoints of all epochs of one run, a hundred or so, with J = 10.

    Source: He et al., CVPR 2024, arXiv 2306.05175, section 3.

    What differs: J is 5, so that a run of ten checkpoints has several windows. Their code multiplies by ten, and leaves
    out the last window.
    """

    name: ClassVar[str] = "dyn_unc"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"

    def of_window(self, probabilities: Tensor) -> Tensor:
        """Return the value of one window, [B]."""
        return dyn_unc(probabilities)
