"""Testing a model on rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from raysample.errors import TrainingError
from raysample.evaluation import Evaluation, evaluate
from raysample.numerics.batches import token_batches
from raysample.numerics.precision import autocast
from raysample.training.examples import Examples, batch
from raysample.training.levels import level_metrics


def assess(
    model: nn.Module, data: Examples, device: str = "cpu", dtype: torch.dtype | None = None, batch_tokens: int = 8_192
) -> Evaluation:
    """Evaluate a model on rows, in eval mode and the precision `dtype` of its training (None: float32).

    Where several levels have a head the metrics are those of the scored one, and `level_metrics` beside them.
    """
    classifier: Any = model
    logits = np.empty((len(data), classifier.config.num_labels))
    model.eval()
    with torch.inference_mode(), autocast(device, dtype):
        for rows in token_batches(data.encoded.lengths, batch_tokens):
            inputs, _ = batch(data, rows, device)
            logits[rows] = model(**inputs).logits.double().cpu().numpy()
    if data.levels is None:
        return evaluate(logits, data.labels)
    found = evaluate(logits[:, data.levels.label], data.labels)
    told = level_metrics(logits, data.levels)
    both = sorted(told.keys() & found.metrics.keys())
    if both:
        raise TrainingError(
            f"{both[0]!r} is a metric of its own and that of a level", "give the level's column another name"
        )
    return replace(found, metrics={**found.metrics, **told})
