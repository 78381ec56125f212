"""kNN label disagreement: how many of the nearest rows have another label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from raysample.core.errors import ScoreError
from raysample.core.numerics.geometry import nearest
from raysample.influence.scores.base import MeanScore
from raysample.influence.scores.reference import CLUSTERS, FEATURE_SAMPLE_ROWS, Reference
from raysample.influence.scores.window import LAST, CheckpointWindow
from raysample.influence.visits.artifacts import Artifacts, Need


def knn_label_disagreement(labels: Tensor, neighbours: Tensor) -> Tensor:
    """Return the share of the labels of k neighbours [B, k] that differ from the row's own [B], in [0, 1], [B]."""
    return (neighbours != labels[:, None]).float().mean(1)


@final
@dataclass(frozen=True)
class KnnLabelDisagreement(MeanScore):
    """Share of the k nearest rows, by the cosine of the classifier's inputs, whose label is another one.

    The rows that may be neighbours are a sample, drawn by `seed`, of `rows` rows of the scored corpus at the same
    checkpoint; a row is never its own neighbour. `neighbours` is k. Equal cosines are settled by the hashes of row ids.

    Range [0, 1] in steps of 1/k; high is harder, and points at wrong labels. It may move by 1/k where the k-th and the
    next row are equally near to within rounding.

    Designed for: one trained model, to find wrong labels.

    Sources: Wilson 1972 (edited nearest neighbours); Bahri, Jiang and Gupta, ICML 2020, arXiv 2004.12289 (on a model's
    representation); Zhu, Dong and Liu, ICML 2022, arXiv 2110.06283 (voting among neighbours, k = 10).

    What differs: a share, not a verdict, and neighbours come from a sample. A fine-tuned model that has memorised a
    wrong label may have moved its row among the rows of that label.
    """

    name: ClassVar[str] = "knn_label_disagreement"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"
    discrete: ClassVar[bool] = True
    label_error_rank: ClassVar[int] = 2
    last_only: ClassVar[bool] = True
    by_row: ClassVar[bool] = True  # a row is no neighbour of itself, but one of its repeats
    least: ClassVar[dict[str, float]] = {"neighbours": 1, "rows": 2, "seed": 0}

    checkpoints: CheckpointWindow = LAST
    neighbours: int = 10
    rows: int = FEATURE_SAMPLE_ROWS
    seed: int = 0

    @property
    def needs(self) -> Need:
        """The classifier's input."""
        return Need.LOGITS | Need.FEATURES

    @property
    def references(self) -> tuple[Reference, ...]:
        """The features, labels and keys of the sample that the other scores on features take at their defaults."""
        return (Reference.from_options("features", rows=self.rows, clusters=CLUSTERS, seed=self.seed),)

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the share at the checkpoint, [B]; raises ScoreError where the sample has too few rows."""
        assert seen.features is not None
        assert seen.keys is not None
        sample = seen.reference[self.references[0].key]
        if len(sample["keys"]) <= self.neighbours:
            raise ScoreError(
                f"score {self.name!r} looks for {self.neighbours} neighbours of each row among {len(sample['keys'])} "
                "rows, itself left out",
                f"lower the option `neighbours` of {self.name!r}, or raise `rows` where the corpus has more",
            )
        places = nearest(seen.features, seen.keys, sample["features"], sample["keys"], self.neighbours)
        found = knn_label_disagreement(seen.labels, sample["labels"][places])
        return found.where(seen.features.isfinite().all(1), torch.nan)
