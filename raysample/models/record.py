"""The origin of a fine-tuned model: base, size, head, tokenizer, as data for the record of the run."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from raysample.core.config import ModelConfig


def initialisation(
    network: nn.Module, tokenizer: PreTrainedTokenizerBase, base: str, spec: ModelConfig, seed: int
) -> dict[str, Any]:
    """Return how a model from `build_model` was initialised, and how its texts become tokens.

    `head`: the modules outside the encoder, drawn from the seed; `head_parameters` is their size. `encoder` is `drawn`
    from the seed (`tiny`) or `pretrained`. Counts are of scalars; tied weights count once.
    """
    shape: Any = network.config
    prefix = str(network.base_model_prefix)
    weights = dict(network.named_parameters())
    head = {name: weight for name, weight in weights.items() if not name.startswith(f"{prefix}.")}
    return {
        "base": base,
        "architecture": type(network).__name__,
        "encoder": "drawn" if spec.path == "tiny" else "pretrained",
        "layers": getattr(shape, "num_hidden_layers", None),
        "hidden_size": getattr(shape, "hidden_size", None),
        "classes": shape.num_labels,
        "head": sorted({name.partition(".")[0] for name in head}),
        "seed": seed,
        "parameters": sum(weight.numel() for weight in weights.values()),
        "trainable_parameters": sum(weight.numel() for weight in weights.values() if weight.requires_grad),
        "head_parameters": sum(weight.numel() for weight in head.values()),
        "tokenizer": type(tokenizer).__name__,
        "vocabulary": len(tokenizer),
        "max_length": spec.max_length,
        "truncation_side": tokenizer.truncation_side if spec.truncation_side is None else spec.truncation_side,
        "pair_truncation": spec.pair_truncation,
        "pad_to_multiple_of": spec.pad_to_multiple_of,
    }
