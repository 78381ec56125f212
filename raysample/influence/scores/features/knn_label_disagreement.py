"""kNN label disagreement: how many of the nearest rows have another label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from raysample.core.errors import ScoreError
from raysample.core.numerics.geometry import nearest
from raysample.influence.scores.feature_score import FeatureScore
from raysample.influence.visits.artifacts import Artifacts


def knn_label_disagreement(labels: Tensor, neighbours: Tensor) -> Tensor:
    """Return the share of the labels of k neighbours [B, k] that differ from the row's own [B], in [0, 1], [B]."""
    return (neighbours != labels[:, None]).float().mean(1)


@final
@dataclass(frozen=True)
class KnnLabelDisagreement(FeatureScore):
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
    by_row: ClassVar[bool] = True  # a row is no neighbour of itself, but one of its repeats
    min_values: ClassVar[Mapping[str, float]] = {**FeatureScore.min_values, "neighbours": 1, "rows": 2}

    neighbours: int = 10

    def compare(self, seen: Artifacts, features: Tensor, sample: Mapping[str, Tensor]) -> Tensor:
        """Return the share at the checkpoint, [B]; raises ScoreError where the sample has too few rows."""
        assert seen.keys is not None
        if len(sample["keys"]) <= self.neighbours:
            raise ScoreError(
                f"score {self.name!r} looks for {self.neighbours} neighbours of each row among {len(sample['keys'])} "
                "rows, itself left out",
                f"lower the option `neighbours` of {self.name!r}, or raise `rows` where the corpus has more",
            )
        places = nearest(features, seen.keys, sample["features"], sample["keys"], self.neighbours)
        found = knn_label_disagreement(seen.labels, sample["labels"][places])
        return found.where(features.isfinite().all(1), torch.nan)
