"""Squared norms of each example's parameter gradient, without ever forming a per-example gradient.

A layer that is called once per forward turns the inputs A_b of example b into outputs; with G_b the gradient of the
summed loss with respect to those outputs, the parameter gradient of example b is a function of (A_b, G_b) alone.
Each rule returns its squared Euclidean norm, one value per example, for the parameters named in `counted`.

The identity for linear layers is Goodfellow's (2015, arXiv 1510.01799), extended to sequences as in Li et al.
(2022, arXiv 2110.05679, "ghost clipping"): ‖AᵀG‖² = Σ (A Aᵀ) ∘ (G Gᵀ).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from raysample.numerics.predictions import widened

Rule = Callable[[nn.Module, Tensor, Tensor, Collection[str]], Tensor]


def linear_weight(A: Tensor, G: Tensor) -> Tensor:
    """Return ‖A_bᵀ G_b‖² [B] for inputs A [B, T, I] and output gradients G [B, T, O].

    Of the two exact ways the one with fewer multiplications is taken: the Gram form costs T²(I + O), the product TIO.
    The product is taken only where T exceeds IO / (I + O), so its memory B·I·O stays below that of the activations.
    """
    T, I, O = A.shape[1], A.shape[2], G.shape[2]  # noqa: E741 - the letters of the formula
    if T * (I + O) <= I * O:
        return ((A @ A.mT) * (G @ G.mT)).sum((1, 2)).clamp(min=0)  # rounding may go below zero
    return (A.mT @ G).square().sum((1, 2))


def bias(G: Tensor) -> Tensor:
    """Return ‖Σ_t G_bt‖² [B] for output gradients G [B, T, O]."""
    return G.sum(1).square().sum(1)


def embedding_weight(ids: Tensor, G: Tensor, padding_idx: int | None) -> Tensor:
    """Return ‖Σ_t onehot(id_bt) ⊗ G_bt‖² = Σ_{t,s} [id_bt = id_bs] ⟨G_bt, G_bs⟩ [B] for ids [B, T] and G [B, T, D].

    Rows of `padding_idx` get no gradient, as in torch.
    """
    if padding_idx is not None:
        G = G * (ids != padding_idx)[..., None]
    same = (ids[:, :, None] == ids[:, None, :]).to(G.dtype)
    return ((same @ G) * G).sum((1, 2)).clamp(min=0)


def layer_norm_weight(X: Tensor, G: Tensor, eps: float) -> Tensor:
    """Return ‖Σ_t x̂_bt ∘ G_bt‖² [B], x̂ = (x − mean) / √(variance + eps) over the last axis of X [B, T, D]."""
    centred = X - X.mean(-1, keepdim=True)
    normalised = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return (normalised * G).sum(1).square().sum(1)


def _rows(values: Tensor, width: int) -> Tensor:
    return widened(values).reshape(values.shape[0], -1, width)


def _linear(module: nn.Module, A: Tensor, G: Tensor, counted: Collection[str]) -> Tensor:
    assert isinstance(module, nn.Linear)
    A, G = _rows(A, module.in_features), _rows(G, module.out_features)
    total = torch.zeros(len(A), dtype=G.dtype, device=G.device)
    if "weight" in counted:
        total = total + linear_weight(A, G)
    return total + bias(G) if "bias" in counted else total


def _embedding(module: nn.Module, A: Tensor, G: Tensor, counted: Collection[str]) -> Tensor:
    assert isinstance(module, nn.Embedding)
    assert "weight" in counted
    return embedding_weight(A.flatten(1), _rows(G, module.embedding_dim), module.padding_idx)


def _layer_norm(module: nn.Module, A: Tensor, G: Tensor, counted: Collection[str]) -> Tensor:
    assert isinstance(module, nn.LayerNorm)
    width = int(torch.Size(module.normalized_shape).numel())
    A, G = _rows(A, width), _rows(G, width)
    total = torch.zeros(len(A), dtype=G.dtype, device=G.device)
    if "weight" in counted:
        total = total + layer_norm_weight(A, G, module.eps)
    return total + bias(G) if "bias" in counted else total


RULES: dict[type[nn.Module], Rule] = {nn.Linear: _linear, nn.Embedding: _embedding, nn.LayerNorm: _layer_norm}


def rule_for(module: nn.Module, counted: Collection[str]) -> Rule | None:
    """Return the rule of a module whose parameters `counted` are trainable, or None where there is no exact one.

    The type must match exactly: a subclass may compute something else. Neither an embedding that rescales its gradient
    by frequency or renormalises its table, nor a module with parameters besides weight and bias, has a rule.
    """
    if not set(counted) <= {"weight", "bias"}:
        return None
    if isinstance(module, nn.Embedding) and (module.scale_grad_by_freq or module.max_norm is not None):
        return None
    return RULES.get(type(module))
