"""Testing a model on rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from raysample.evaluation import Evaluation, evaluate
from raysample.numerics.batches import token_batches
from raysample.numerics.precision import autocast
from raysample.training.examples import Examples, batch


def assess(
    model: nn.Module, data: Examples, device: str = "cpu", dtype: torch.dtype | None = None, batch_tokens: int = 8_192
) -> Evaluation:
    """Evaluate a model on rows, in eval mode and the precision `dtype` of its training (None: float32)."""
    return evaluate(predict(model, data, device, dtype, batch_tokens), data.labels)


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
