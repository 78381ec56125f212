"""Several heads: the labels of every level, the loss over all levels, and the metrics of each level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from raysample.core.arrays import FloatArray, IntArray
from raysample.core.config import FineTuneConfig
from raysample.core.errors import ProvenanceError, TrainingError
from raysample.data.corpus import Corpus, Levels
from raysample.evaluation import TAILS, evaluate


@dataclass(frozen=True)
class LevelLabels:
    """Integer labels of every level [N, L], and the weight of the loss of each level [L]."""

    levels: Levels
    codes: IntArray
    weights: tuple[float, ...]

    @staticmethod
    def read(table: pa.Table, levels: Levels) -> LevelLabels:
        """Return the labels of a corpus' rows from its table; every level has weight 1."""
        codes = np.stack([table[name].to_numpy() for name in levels.columns], axis=1).astype(np.int64)
        return LevelLabels(levels, codes, (1.0,) * len(levels.names))

    def wanted(self, config: FineTuneConfig) -> LevelLabels | None:
        """Return the labels with the weights of a recipe, or None if it trains a single head."""
        if config.levels == "label":
            return None
        return replace(self, weights=tuple(config.level_weights.get(name, 1.0) for name in self.levels.names))

    def take(self, rows: IntArray) -> LevelLabels:
        """Return the labels of some of the rows, in the given order."""
        return replace(self, codes=self.codes[rows])

    @property
    def label(self) -> slice:
        """The slice of the scored level in the logits of all levels."""
        return self.levels.spans[self.levels.label]


def trained(corpus: Corpus, config: FineTuneConfig, test: Corpus | None = None) -> Levels | None:
    """Return the levels with one head each; None if a plain classifier of the label is trained.

    Raises:
        TrainingError: `level_weights` names a level without a head; the name of a level is also the name of a metric of
            the tail of a test.
        ProvenanceError: the test corpus does not have the classes of every level.
    """
    levels = corpus.levels if config.levels == "all" else None
    names = () if levels is None else levels.names
    unknown = [name for name in config.level_weights if name not in names]
    if unknown:
        raise TrainingError(
            f"fine_tune.level_weights names {unknown[0]!r}, and the levels that get a head are: "
            f"{', '.join(names) or 'none'}",
            "name levels of corpus.columns.levels there, and set fine_tune.levels: all; or leave level_weights out",
        )
    if both := [name for name in names if name in TAILS]:
        raise TrainingError(
            f"a column of corpus.columns.levels is called {both[0]!r}, and {both[0]}_accuracy is a metric of its own",
            "give the column another name; or set fine_tune.levels: label",
        )
    if levels is not None and test is not None and test.levels != levels:
        raise ProvenanceError(
            f"the test corpus {test.uri!r} does not have the levels and classes of {corpus.uri!r}",
            "describe it with labels and levels of the training corpus; or set fine_tune.levels: label",
        )
    return levels


def over_levels(
    loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, labels: LevelLabels, rows: IntArray
) -> Tensor:
    """Return Σ_l w_l · loss(logits of level l [B, C_l], labels of level l [B]).

    Args:
        loss: of one head. logits: of all heads, concatenated, [B, ΣC]. labels: of all rows. rows: those of the batch.
    """
    codes = torch.from_numpy(labels.codes[rows]).to(logits.device)
    found = [
        weight * loss(logits[:, span], codes[:, place])
        for place, (span, weight) in enumerate(zip(labels.levels.spans, labels.weights, strict=True))
    ]
    return torch.stack(found).sum(0)


def level_metrics(logits: FloatArray, labels: LevelLabels) -> dict[str, float]:
    """Return `NAME_accuracy` and `NAME_macro_f1` of every level, and `exact_match`.

    The share of rows right at all levels.

    Args:
        logits: of all heads, concatenated, [N, ΣC]. labels: of the same rows.
    """
    found: dict[str, float] = {}
    right = np.ones(len(logits), np.bool_)
    for name, span, codes in zip(labels.levels.names, labels.levels.spans, labels.codes.T, strict=True):
        metrics = evaluate(logits[:, span], codes, replicates=0).metrics
        found |= {f"{name}_{key}": metrics[key] for key in ("accuracy", "macro_f1")}
        right &= logits[:, span].argmax(1) == codes
    return {**found, "exact_match": float(right.mean())}
