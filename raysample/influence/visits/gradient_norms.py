"""Squared norms of each example's parameter gradient, computed without any per-example gradient.

A layer maps the inputs A_b of example b to outputs; G_b is the gradient of the summed loss with respect to those
outputs. The parameter gradient of example b is a function of (A_b, G_b) alone. Each function returns its squared
Euclidean norm, one value per example. `gradient_rules` decides which function applies to which type of layer.

The identity for linear layers is Goodfellow's (2015, arXiv 1510.01799), extended to sequences as in Li et al.
(2022, arXiv 2110.05679, "ghost clipping"): ‖AᵀG‖² = Σ (A Aᵀ) ∘ (G Gᵀ).
"""

from __future__ import annotations

from torch import Tensor

from raysample.core.numerics.predictions import widened


def linear_norms(A: Tensor, G: Tensor) -> Tensor:
    """Return ‖A_bᵀ G_b‖² [B] for inputs A [B, T, I] and output gradients G [B, T, O].

    Takes the cheaper of two exact ways: the Gram form costs T²(I + O) multiplications, the product TIO. The product is
    taken only if T exceeds IO / (I + O), so its memory B·I·O stays below that of the activations.
    """
    T, I, O = A.shape[1], A.shape[2], G.shape[2]  # noqa: E741 - the letters of the formula
    if T * (I + O) <= I * O:
        return (widened(A @ A.mT) * widened(G @ G.mT)).sum((1, 2)).clamp(min=0)  # rounding may go below zero
    return widened(A.mT @ G).square().sum((1, 2))


def bias_norms(G: Tensor) -> Tensor:
    """Return ‖Σ_t G_bt‖² [B] for output gradients G [B, T, O]."""
    return total(G).square().sum(1)


def total(G: Tensor) -> Tensor:
    """Return Σ_t G_bt [B, O] for G [B, T, O], summed and returned in float32 at least.

    Lower precision uses a product with ones: it sums in float32 too and takes a quarter of the time of `sum` on CPUs.
    """
    if G.element_size() >= 4:
        return G.sum(1)
    return widened(G.new_ones(1, 1, G.shape[1]).expand(len(G), -1, -1) @ G).squeeze(1)


def embedding_norms(ids: Tensor, G: Tensor, entries: int) -> Tensor:
    """Return ‖Σ_t onehot(id_bt) ⊗ G_bt‖² = Σ_{t,s} [id_bt = id_bs] ⟨G_bt, G_bs⟩ [B] for ids [B, T] and G [B, T, D].

    The sum over pairs costs T²D. For a table of at most T `entries` (token types, relative positions) the gradients are
    summed per entry instead, which costs TD and takes less memory than G.
    """
    if entries <= ids.shape[1]:
        table = G.new_zeros(len(G), entries, G.shape[2])
        return table.scatter_add_(1, ids[..., None].expand_as(G), G).square().sum((1, 2))
    same = (ids[:, :, None] == ids[:, None, :]).to(G.dtype)
    return ((same @ G) * G).sum((1, 2)).clamp(min=0)


def scale_norms(X: Tensor, G: Tensor) -> Tensor:
    """Return ‖Σ_t X_bt ∘ G_bt‖² [B] for normalised inputs X [B, T, D] and G [B, T, D]: the norm for a scale weight."""
    return (X * G).sum(1).square().sum(1)
