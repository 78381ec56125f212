"""Slow twins of the references: dense Hessians, their products, and gradients, one example at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.helpers.oracles import loss_of, one_by_one


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in model.parameters() if weight.requires_grad]


def gradient(loss: Tensor, weights: Sequence[Tensor], *, keep: bool = False) -> Tensor:
    found = torch.autograd.grad(loss, weights, allow_unused=True, retain_graph=keep)
    pairs = zip(found, weights, strict=True)
    return torch.cat([torch.zeros_like(w).flatten() if g is None else g.flatten() for g, w in pairs])


def mean_gradient(model: nn.Module, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Return the mean of the examples' gradients [P], one unpadded example at a time."""
    losses = [loss_of(model, one_by_one(inputs, row), label) for row, label in enumerate(labels)]
    return torch.stack([gradient(loss, trainable(model)) for loss in losses]).mean(0)


def dense_hessian(loss: Callable[[], Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Return the Hessian [P, P], a row per backward."""
    found = torch.autograd.grad(loss(), weights, create_graph=True)
    flat = torch.cat([g.flatten() for g in found])
    rows = [gradient(flat[i], weights, keep=True) for i in range(len(flat))]
    return torch.stack(rows)


def hessian_product(model: nn.Module, inputs: dict[str, Tensor], labels: Tensor, v: Tensor) -> Tensor:
    """Return the Hessian of the mean loss times v [P], one unpadded example at a time."""
    weights, total = trainable(model), torch.zeros_like(v)
    with sdpa_kernel(SDPBackend.MATH):
        for row, label in enumerate(labels):
            loss = loss_of(model, one_by_one(inputs, row), label)
            found = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True, materialize_grads=True)
            total += gradient((torch.cat([g.flatten() for g in found]) * v).sum(), weights)
    return total / len(labels)


def model_hessian(model: nn.Module, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Return the Hessian [P, P] of the mean loss, over single unpadded examples."""

    def loss() -> Tensor:
        return torch.stack([loss_of(model, one_by_one(inputs, row), label) for row, label in enumerate(labels)]).mean()

    with sdpa_kernel(SDPBackend.MATH):
        return dense_hessian(loss, trainable(model))
