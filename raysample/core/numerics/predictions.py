"""Functions of logits [B, C] and gold labels [B] that return one value per example, [B].

Computed in float32, or in float64 if the logits are float64; logits of lower precision are widened first. Logits that
are not finite give NaN, never a plausible number.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def widened(values: Tensor) -> Tensor:
    """Return values in float32 at least."""
    return values if values.dtype == torch.float64 else values.float()


def gold_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Return z_y, the pre-softmax output at the gold label.

    >>> gold_logits(torch.tensor([[1.0, 3.0]]), torch.tensor([1]))
    tensor([3.])
    """
    return widened(logits).gather(1, labels[:, None]).squeeze(1)


def gold_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """Return p_y = softmax(z)_y, in [0, 1].

    >>> gold_probabilities(torch.zeros(1, 4), torch.tensor([2]))  # uniform over 4 classes
    tensor([0.2500])
    """
    return widened(logits).softmax(1).gather(1, labels[:, None]).squeeze(1)


def cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """Return −ln p_y in nats, computed from the logits so that it stays finite if p_y underflows.

    >>> cross_entropies(torch.zeros(1, 4), torch.tensor([2]))  # ln 4
    tensor([1.3863])
    """
    return functional.cross_entropy(widened(logits), labels, reduction="none")


def error_norms(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ‖softmax(z) − onehot(y)‖₂, in [0, √2].

    >>> error_norms(torch.zeros(1, 4), torch.tensor([2]))  # uniform over C classes: √(1 − 1/C)
    tensor([0.8660])
    """
    p = widened(logits).softmax(1)
    norms: Tensor = torch.linalg.vector_norm(p - functional.one_hot(labels, p.shape[1]), dim=1)
    return norms


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Return 1.0 if the first largest logit is the gold one, else 0.0; NaN if a logit is not finite.

    >>> correct(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.tensor([0, 1]))
    tensor([1., 0.])
    """
    hits = (logits.argmax(1) == labels).to(widened(logits).dtype)
    return hits.where(logits.isfinite().all(1), torch.nan)


def log_probabilities(logits: Tensor) -> Tensor:
    """Return ln softmax(z) in nats, [B, C]."""
    return widened(logits).log_softmax(1)


def entropies(logits: Tensor) -> Tensor:
    """Return the entropy −Σ_c p_c ln p_c in nats, in [0, ln C].

    >>> entropies(torch.zeros(1, 4))  # uniform over 4 classes: ln 4
    tensor([1.3863])
    """
    log_p = log_probabilities(logits)
    return -(log_p.exp() * log_p).sum(1)


def logit_margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return z_y − max_{c≠y} z_c, in (−∞, ∞).

    >>> logit_margins(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
    tensor([1.])
    """
    return _margins(widened(logits), labels).where(logits.isfinite().all(1), torch.nan)


def probability_margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return p_y − max_{c≠y} p_c, in [−1, 1].

    >>> probability_margins(torch.zeros(1, 3), torch.tensor([0]))  # a tie
    tensor([0.])
    """
    return _margins(widened(logits).softmax(1), labels).where(logits.isfinite().all(1), torch.nan)


def _margins(values: Tensor, labels: Tensor) -> Tensor:
    """Return the value at the gold label minus the largest other value, [B]."""
    gold = labels[:, None]
    return values.gather(1, gold).squeeze(1) - values.scatter(1, gold, -torch.inf).amax(1)


def last_layer_norms(logits: Tensor, labels: Tensor, features: Tensor) -> Tensor:
    """Return the norm of the gradient of −ln p_y over a last layer z = Wh + b, in [0, ∞), for its inputs h [B, H].

    ∂ℓ/∂W = (p − y) hᵀ and ∂ℓ/∂b = p − y, so it is ‖p − y‖₂ · √(1 + ‖h‖²).

    >>> h = torch.tensor([[3.0, 0.0, 4.0]])  # ‖h‖² = 25
    >>> last_layer_norms(torch.zeros(1, 2), torch.tensor([0]), h)  # √(1/2) · √26
    tensor([3.6056])
    """
    return error_norms(logits, labels) * (1 + features.square().sum(1)).sqrt()
