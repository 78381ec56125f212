"""Moderate: how far a row lies from the middle of its class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from raysample.influence.scores.feature_score import FeatureScore
from raysample.influence.visits.artifacts import Artifacts


def moderate(features: Tensor, labels: Tensor, medians: Tensor) -> Tensor:
    """Return ‖h − m_y‖₂, in [0, ∞), [B], for features h [B, H], labels [B] and class medians [C, H].

    NaN where the class has no median.
    """
    distances: Tensor = torch.linalg.vector_norm(features - medians[labels], dim=1)
    return distances


@final
@dataclass(frozen=True)
class Moderate(FeatureScore):
    """Distance to the class: ‖h − m_y‖₂, h the classifier's input, m_y the median of the row's class per coordinate.

    The medians are those of a sample, drawn by `seed`, of `rows` rows of the scored corpus at the same checkpoint; a
    row of a class without any row there has no value.

    Range [0, ∞), in units of the features; high is harder. The method keeps the rows in the *middle* of this score,
    which is a policy's business; the score is the distance as it is.

    Designed for: one trained model.

    Source: Xia et al., ICLR 2023, "Moderate Coreset", section 3.

    What differs: the medians come from a sample.
    """

    name: ClassVar[str] = "moderate"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"

    def compare(self, seen: Artifacts, features: Tensor, sample: Mapping[str, Tensor]) -> Tensor:
        """Return the distance at the checkpoint, [B]."""
        return moderate(features, seen.labels, sample["medians"])
