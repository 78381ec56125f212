"""What logits [B, C] say about gold labels [B]: each function returns one value per example, [B].

Everything is computed in float32, or in float64 where the logits are; logits of lower precision are widened first.
Logits that are not finite give NaN, never a plausible number.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def widened(values: Tensor) -> Tensor:
    """Return values in float32 at least."""
    return values if values.dtype == torch.float64 else values.float()


def gold_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Return z_y, the pre-softmax output at the gold label."""
    return widened(logits).gather(1, labels[:, None]).squeeze(1)


def gold_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """Return p_y = softmax(z)_y, in [0, 1]."""
    return widened(logits).softmax(1).gather(1, labels[:, None]).squeeze(1)


def cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """Return −ln p_y in nats, computed from the logits so that it stays finite where p_y underflows."""
    return functional.cross_entropy(widened(logits), labels, reduction="none")


def error_norms(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ‖softmax(z) − onehot(y)‖₂, in [0, √2]."""
    p = widened(logits).softmax(1)
    norms: Tensor = torch.linalg.vector_norm(p - functional.one_hot(labels, p.shape[1]), dim=1)
    return norms


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Return 1.0 where the first largest logit is the gold one, else 0.0; NaN where a logit is not finite."""
    hits = (logits.argmax(1) == labels).to(widened(logits).dtype)
    return hits.where(logits.isfinite().all(1), torch.nan)
