"""Tiny classifiers of every family as after training, ragged mini-batches for them, and directions to project onto."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raysample.testing import TYPED, Family, tiny_batch, tiny_model


def batch_for(family: Family, rows: int = 6, length: int = 9) -> tuple[dict[str, Tensor], Tensor]:
    """Return a ragged mini-batch with repeated tokens and, where the family knows them, two token types."""
    inputs, labels = tiny_batch(rows, length, vocabulary=12)
    if family in TYPED:
        inputs["token_type_ids"] = (torch.arange(length) > 3).long() * inputs["attention_mask"]
    return inputs, labels


def encoder(family: Family, seed: int = 0) -> nn.Module:
    """Return a model in float64 whose biases and normalisations are neither ones nor zeros."""
    return worn(tiny_model(family, seed=seed).double())


def worn(model: nn.Module) -> nn.Module:
    """Move every vector of a model a little."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 1:
                weight += 0.2 * torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight)
    return model


def directions_for(model: nn.Module, count: int, seed: int = 0) -> dict[str, Tensor]:
    """Return `count` random directions over all parameters."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(count, *weight.shape, generator=generator, dtype=torch.float64).to(weight.dtype)
        for name, weight in model.named_parameters()
    }
