"""Base of scores that compare a row's features with those of a sample of rows at the last checkpoint."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from raysample.influence.scores.base import MeanScore
from raysample.influence.scores.reference import CLUSTERS, FEATURE_SAMPLE_ROWS, Reference
from raysample.influence.scores.window import LAST, CheckpointWindow
from raysample.influence.visits.artifacts import Artifacts, Need


@dataclass(frozen=True)
class FeatureScore(MeanScore):
    """A score from a row's features, the classifier's input, and a sample of `rows` rows drawn by `seed`.

    The sample is prepared once, so scores with the same options share it.
    """

    last_only: ClassVar[bool] = True
    min_values: ClassVar[Mapping[str, float]] = {"rows": 1, "seed": 0}

    checkpoints: CheckpointWindow = LAST
    rows: int = FEATURE_SAMPLE_ROWS
    seed: int = 0

    @property
    def needs(self) -> Need:
        """The classifier's input."""
        return Need.LOGITS | Need.FEATURES

    @property
    def references(self) -> tuple[Reference, ...]:
        """The sample: features, labels and keys of its rows, class medians, centres of clusters."""
        return (self.sample_reference(CLUSTERS),)

    def sample_reference(self, clusters: int) -> Reference:
        """Return the reference to a sample whose unit features are clustered around so many centres."""
        return Reference.from_options("features", rows=self.rows, clusters=clusters, seed=self.seed)

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the value at the checkpoint, [B]."""
        assert seen.features is not None
        return self.compare(seen, seen.features, seen.reference[self.references[0].key])

    @abstractmethod
    def compare(self, seen: Artifacts, features: Tensor, sample: Mapping[str, Tensor]) -> Tensor:
        """Return the value of each row, [B], from its features [B, H] and the tensors of the sample."""
