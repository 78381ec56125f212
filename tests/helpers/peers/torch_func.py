"""torch.func: `vmap(grad)` over a dict of parameters, in chunks.

The mask is given in four dimensions: transformers makes one of a two-dimensional mask by code that depends on the data,
which raises under vmap, for eager attention as for sdpa.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from tests.helpers.peers.base import Norms, Peer
from tests.helpers.peers.workload import Work

CHUNKS = (4, 16, 64)
MEMORY = 2 * 2**30
"""Bytes of gradients that a chunk may hold."""


def _norms(model: Any, work: Work, weights: dict[str, Tensor], chunk: int) -> Tensor:
    per_row = vmap(partial(_squared, _gradient(model)), in_dims=(None, 0, 0, 0, 0), chunk_size=chunk)
    return torch.cat([per_row(weights, *batch) for batch in map(_four_dimensional, work.batches)]).sqrt()


def _four_dimensional(batch: tuple[dict[str, Tensor], Tensor]) -> tuple[Tensor, ...]:
    inputs, labels = batch
    return inputs["input_ids"], inputs["token_type_ids"], added_mask(inputs["attention_mask"])[:, None], labels


def added_mask(mask: Tensor) -> Tensor:
    """Return what is added to the attention scores, [B, 1, T, T], of a mask [B, T] of real tokens."""
    lowest = torch.finfo(torch.float32).min
    shut = torch.where(mask.bool(), 0.0, lowest)
    return shut[:, None, None, :].expand(-1, 1, mask.shape[1], -1)


def eager(model: nn.Module) -> Any:
    """Return a copy with eager attention: under vmap the fused one falls back to a loop over the rows."""
    copied: Any = copy.deepcopy(model)
    copied.set_attn_implementation("eager")
    return copied


def _gradient(model: Any) -> Callable[..., dict[str, Tensor]]:
    def loss(weights: dict[str, Tensor], ids: Tensor, types: Tensor, mask: Tensor, label: Tensor) -> Tensor:
        given = {"input_ids": ids[None], "token_type_ids": types[None], "attention_mask": mask}
        return functional.cross_entropy(functional_call(model, weights, kwargs=given).logits, label[None])

    found: Callable[..., dict[str, Tensor]] = grad(loss)
    return found


def _squared(gradient: Callable[..., dict[str, Tensor]], *given: Any) -> Tensor:
    return torch.stack([value.square().sum() for value in gradient(*given).values()]).sum()


def build(work: Work) -> Norms:
    """Return the function with the chunk size that was fastest in one run of each."""
    model = eager(work.model)
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    seconds = {}
    row = 4 * sum(weight.numel() for weight in weights.values())
    for chunk in [chunk for chunk in CHUNKS if chunk * row <= MEMORY] or CHUNKS[:1]:
        began = time.perf_counter()
        _norms(model, work, weights, chunk)
        seconds[chunk] = time.perf_counter() - began
    return partial(_norms, model, work, weights, min(seconds, key=lambda chunk: seconds[chunk]))


PEER = Peer("torch.func vmap(grad)", (), "torch", "all", build)
