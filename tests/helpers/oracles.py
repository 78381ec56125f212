"""Slow twins: the same numbers as raysample's fast paths, by loops that are too plain to be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def one_by_one(inputs: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    """Return one example of a mini-batch, its padding cut off."""
    length = int(inputs["attention_mask"][row].sum())
    return {name: value[row : row + 1, :length] for name, value in inputs.items()}


def loss_of(model: nn.Module, inputs: dict[str, Tensor], label: Tensor) -> Tensor:
    output = model(**inputs)
    logits = output if isinstance(output, Tensor) else output.logits
    return -logits.log_softmax(1)[0, int(label)]


def grad_norms(model: nn.Module, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Return each example's gradient norm over the trainable parameters, one `autograd.grad` per example."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    found = []
    for row, label in enumerate(labels):
        loss = loss_of(model, one_by_one(inputs, row), label)
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        found.append(torch.cat([g.flatten() for g in gradients if g is not None]).norm())
    return torch.stack(found)


def grad_dots(model: nn.Module, inputs: dict[str, Tensor], labels: Tensor, directions: dict[str, Tensor]) -> Tensor:
    """Return each example's dot products [B, M] of its gradient over the trainable parameters with M directions."""
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    found = []
    for row, label in enumerate(labels):
        loss = loss_of(model, one_by_one(inputs, row), label)
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        pairs = [(g, directions[name]) for g, name in zip(gradients, weights, strict=True) if g is not None]
        found.append(
            torch.stack([sum((g * direction[m]).sum() for g, direction in pairs) for m in range(len(pairs[0][1]))])
        )
    return torch.stack(found)


def embedding_grads(
    model: nn.Module, embeddings: nn.Module, inputs: dict[str, Tensor], labels: Tensor, objective: str
) -> list[Tensor]:
    """Return each example's gradient [its tokens, D] at the embedding output, one example at a time."""
    found = []
    for row, label in enumerate(labels):
        seen: list[Tensor] = []
        handle = embeddings.register_forward_hook(lambda _m, _a, output, seen=seen: seen.append(output))
        logits = model(**one_by_one(inputs, row)).logits[0]
        handle.remove()
        target = {
            "logit": logits[label],
            "probability": logits.softmax(0)[label],
            "loss": -logits.log_softmax(0)[label],
        }[objective]
        found.append(torch.autograd.grad(target, seen[0])[0][0])
    return found


def softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def el2n(logits: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.sqrt(((softmax(logits) - np.eye(logits.shape[-1])[labels]) ** 2).sum(-1))


def forgetting(history: Sequence[Sequence[int]]) -> list[int]:
    """Return the forgetting count of each example of a history [checkpoint][example] of 0 and 1."""
    columns = [list(column) for column in zip(*history, strict=True)]
    return [sum(a == 1 and b == 0 for a, b in pairwise(c)) if any(c) else len(c) for c in columns]
