"""Prototype distance: how far a row lies from the nearest of the centres that the rows gather around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.core.numerics.geometry import unit
from raysample.influence.scores.base import MeanScore
from raysample.influence.scores.reference import CLUSTERS, FEATURE_SAMPLE_ROWS, Reference
from raysample.influence.scores.window import LAST, CheckpointWindow
from raysample.influence.visits.artifacts import Artifacts, Need


def prototype(features: Tensor, centres: Tensor) -> Tensor:
    """Return 1 − max_j cos(h, c_j), in [0, 2], [B], for features h [B, H] and centres [k, H].

    In float64: rows close to their centre have cosines of nearly 1, and the difference would be rounding in float32.
    """
    return 1 - (unit(features.double()) @ unit(centres.double()).T).amax(1)


@final
@dataclass(frozen=True)
class Prototype(MeanScore):
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
    last_only: ClassVar[bool] = True
    least: ClassVar[dict[str, float]] = {"clusters": 0, "rows": 1, "seed": 0}

    checkpoints: CheckpointWindow = LAST
    clusters: int = CLUSTERS
    rows: int = FEATURE_SAMPLE_ROWS
    seed: int = 0

    @property
    def needs(self) -> Need:
        """The classifier's input."""
        return Need.LOGITS | Need.FEATURES

    @property
    def references(self) -> tuple[Reference, ...]:
        """The centres."""
        return (Reference.from_options("features", rows=self.rows, clusters=self.clusters, seed=self.seed),)

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the distance at the checkpoint, [B]."""
        assert seen.features is not None
        return prototype(seen.features, seen.reference[self.references[0].key]["centres"])
