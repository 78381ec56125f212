"""Evaluate a model on rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from raysample.core.arrays import Mask
from raysample.core.numerics.batches import token_batches
from raysample.core.numerics.precision import autocast
from raysample.evaluation import Evaluation, evaluate
from raysample.training.examples import Examples, batch
from raysample.training.levels import level_metrics
from raysample.training.tokenized import TokenizedCorpus


def assess(
    model: nn.Module, data: Examples, device: str = "cpu", dtype: torch.dtype | None = None, batch_tokens: int = 8_192
) -> Evaluation:
    """Evaluate a model on rows, without intervals, in eval mode and the precision `dtype` (None: float32).

    If several levels have a head the metrics are those of the scored level, plus `level_metrics`.
    """
    logits = predict(model, data, device, dtype, batch_tokens)
    return _of_all_levels(evaluate(_scored(logits, data), data.labels, replicates=0), logits, data)


def examine(
    model: nn.Module,
    test: TokenizedCorpus,
    train: TokenizedCorpus,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    new_texts: Mask | None = None,
) -> Evaluation:
    """Evaluate a model on a test corpus as `assess` does, with groups, tails and intervals.

    Rarity is defined by all training rows, even if the model was trained on some of them: a class by its rows in
    `train`, a content by its occurrences in both corpora together. `new_texts`: the rows that have results of their
    own, see `evaluate`.
    """
    rows, logits = test.examples, predict(model, test.examples, device, dtype)
    groups = None if test.groups is None else test.groups.to_pylist()
    copies, classes = test.seen(train), train.class_counts
    found = evaluate(_scored(logits, rows), rows.labels, groups, copies, classes, new_texts=new_texts)
    return _of_all_levels(found, logits, rows)


def _scored(logits: NDArray[np.float64], rows: Examples) -> NDArray[np.float64]:
    """Return the logits of the scored level, [N, C]."""
    return logits if rows.levels is None else logits[:, rows.levels.label]


def _of_all_levels(found: Evaluation, logits: NDArray[np.float64], rows: Examples) -> Evaluation:
    """Add the metrics of every level to those of the scored one."""
    if rows.levels is None:
        return found
    return replace(found, metrics={**found.metrics, **level_metrics(logits, rows.levels)})


def predict(
    model: nn.Module, data: Examples, device: str = "cpu", dtype: torch.dtype | None = None, batch_tokens: int = 8_192
) -> NDArray[np.float64]:
    """Return a model's logits of rows, [N, C], in eval mode and the precision `dtype` (None: float32)."""
    classifier: Any = model
    logits = np.empty((len(data), classifier.config.num_labels))
    model.eval()
    with torch.inference_mode(), autocast(device, dtype):
        for rows in token_batches(data.encoded.lengths, batch_tokens):
            inputs, _ = batch(data, rows, device)
            logits[rows] = model(**inputs).logits.double().cpu().numpy()
    return logits
