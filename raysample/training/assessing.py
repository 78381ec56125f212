"""Testing a model on rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from raysample.evaluation import Evaluation, evaluate
from raysample.numerics.batches import token_batches
from raysample.numerics.precision import autocast
from raysample.training.examples import Examples, batch


def assess(
    model: nn.Module, data: Examples, device: str = "cpu", dtype: torch.dtype | None = None, batch_tokens: int = 8_192
) -> Evaluation:
    """Evaluate a model on rows, in eval mode and the precision `dtype` of its training (None: float32)."""
    classifier: Any = model
    logits = np.empty((len(data), classifier.config.num_labels))
    model.eval()
    with torch.inference_mode(), autocast(device, dtype):
        for rows in token_batches(data.encoded.lengths, batch_tokens):
            inputs, _ = batch(data, rows, device)
            logits[rows] = model(**inputs).logits.double().cpu().numpy()
    return evaluate(logits, data.labels)
