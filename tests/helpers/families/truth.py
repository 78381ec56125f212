"""The three scores by a bare loop: one row, one forward without padding, `torch.autograd.grad`; all by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.helpers.families.making import LABELS

Column = NDArray[np.float64]
SITES = ("embeddings", "wte", "embed_tokens")
"""Where VoG takes its gradient, as the documentation says: the output of this module under the base model."""


def loop(places: Sequence[str], found: Sequence[dict[str, str]]) -> dict[str, Column]:
    """Return `el2n` and `grand` at the last checkpoint, and `vog` over all where the family has a site for it.

    Of a family whose own code refuses a backward pass in eval mode, `el2n` alone.
    """
    words = AutoTokenizer.from_pretrained(places[0])
    networks = [AutoModelForSequenceClassification.from_pretrained(place).eval() for place in places]
    columns: dict[str, list[float]] = {"el2n": [], "grand": [], "vog": []}
    for row in found:
        tokens = torch.tensor([words(row["text"])["input_ids"]])
        gold = LABELS.index(row["label"])
        seen = [_visit(network, tokens, gold) for network in networks]
        columns["el2n"].append(seen[-1][0])
        if (norm := seen[-1][1]) is not None:
            columns["grand"].append(norm)
        gradients = [one[2] for one in seen]
        if all(gradient is not None for gradient in gradients):
            stacked = torch.stack([gradient[0, : tokens.shape[1]] for gradient in gradients if gradient is not None])
            columns["vog"].append(float(stacked.double().var(0, correction=0).mean()))
    return {name: np.array(values) for name, values in columns.items() if len(values) == len(found)}


def _visit(network: Any, tokens: Tensor, gold: int) -> tuple[float, float | None, Tensor | None]:
    passed: list[Tensor] = []

    def keep(_module: Any, _args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            passed.append(output)

    site = next((found for name in SITES if (found := getattr(network.base_model, name, None)) is not None), None)
    handle = None if site is None else site.register_forward_hook(keep)
    logits = network(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
    if handle is not None:
        handle.remove()
    apart = logits[0].softmax(0).detach() - torch.nn.functional.one_hot(torch.tensor(gold), len(LABELS))
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([gold]))
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    try:
        parts = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    except AssertionError:  # Reformer's reversible layers, which go backward in training only
        return float(apart.norm()), None, None
    norm = torch.stack([part.square().sum() for part in parts if part is not None]).sum().sqrt()
    embedding = None
    if len(passed) == 1:
        (embedding,) = torch.autograd.grad(logits[0, gold], passed, allow_unused=True)
    return float(apart.norm()), float(norm), embedding
