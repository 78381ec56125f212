"""Prototype distance: how far a row lies from the nearest of the centres that the rows gather around."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.core.numerics.geometry import unit
from raysample.influence.scores.feature_score import FeatureScore
from raysample.influence.scores.reference import CLUSTERS, Reference
from raysample.influence.visits.artifacts import Artifacts


def prototype(features: Tensor, centres: Tensor) -> Tensor:
    """Return 1 − max_j cos(h, c_j), in [0, 2], [B], for features h [B, H] and centres [k, H].

    In float64: rows close to their centre have cosines of nearly 1, and the difference would be rounding in float32.
    """
    return 1 - (unit(features.double()) @ unit(centres.double()).T).amax(1)


@final
@dataclass(frozen=True)
class Prototype(FeatureScore):
    """Prototype distance: 1 − max_j cos(h, c_j), h the classifier's input and c_j the means of a k-means clustering.

    The clustering (k = `clusters`, 0 for as many as there are classes) is that of the unit features of a sample, drawn
    by `seed`, of `rows` rows of the scored corpus at the same checkpoint. No label is looked at.

    Range [0, 2]; 0 for a row in the direction of a centre; high is harder.

    Designed for: one trained model. Keep hard rows where data is abundant, easy ones where it is scarce.

    Source: Sorscher et al., NeurIPS 2022, arXiv 2206.14486, section 5.

    What differs: they embed by a self-supervised model, here the fine-tuned classifier's own features are taken, so
    rows gather by class. The centres come from a sample.
    """

    name: ClassVar[str] = "prototype"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"
    uses_label: ClassVar[bool] = False
    min_values: ClassVar[Mapping[str, float]] = {**FeatureScore.min_values, "clusters": 0}

    clusters: int = CLUSTERS

    @property
    def references(self) -> tuple[Reference, ...]:
        """The sample, clustered as asked for."""
        return (self.sample_reference(self.clusters),)

    def compare(self, seen: Artifacts, features: Tensor, sample: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002 - no label is looked at
        """Return the distance at the checkpoint, [B]."""
        return prototype(features, sample["centres"])
