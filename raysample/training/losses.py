"""The training loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raysample.core.errors import TrainingError


def summed(logits: Tensor, labels: Tensor, weights: NDArray[np.float32] | None, smoothing: float = 0.0) -> Tensor:
    """Return Σ_i w_i ℓ_i, where ℓ_i = -Σ_c q_ic ln p_ic.

    q_i is (1 - s) at the label plus s/C everywhere, for a label smoothing s.

    Args:
        logits: [B, C], float32.
        labels: [B].
        weights: [B]; None is 1 for all.
        smoothing: s.
    """
    if weights is None:
        return nn.functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)
    each = nn.functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    return (each * torch.from_numpy(weights).to(logits.device)).sum()


def class_weights(
    wanted: Literal["balanced"] | Mapping[str, float], labels: NDArray[np.int64], names: Sequence[str]
) -> NDArray[np.float32]:
    """Return one weight per row [N] by its class.

    N / (C n_c) if balanced, else as given, 1 for a class that is not named.

    Raises:
        TrainingError: a name is not a class of the corpus.
    """
    if wanted == "balanced":
        counts = np.bincount(labels, minlength=len(names))
        return (len(labels) / (len(names) * np.maximum(counts, 1)))[labels].astype(np.float32)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise TrainingError(
            f"fine_tune.class_weights names {unknown[0]!r}, which is no class of the corpus ({', '.join(names[:5])}"
            f"{', ...' if len(names) > 5 else ''})",
            "correct the name, or leave it out: classes that are not named weigh 1",
        )
    return np.array([wanted.get(name, 1.0) for name in names], np.float32)[labels]
