"""The layers and positions of an encoder, checked against the configuration."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from raysample.core.config import ModelConfig
from raysample.core.errors import ModelError


def keep_layers(model: PreTrainedModel, config: ModelConfig) -> None:
    """Keep the first `config.layers` layers, all if None; raises ModelError if the model has fewer."""
    if config.layers is None:
        return
    layers = _layers(model)
    if layers is None:
        raise ModelError(
            f"model.layers is set, but {type(model).__name__} keeps its layers in a place unknown to raysample, or "
            "uses one layer again and again",
            "leave model.layers out, or use an encoder or decoder with layers of their own (BERT, DeBERTa, Llama, ...)",
        )
    if len(layers) < config.layers:
        raise ModelError(
            f"model.layers is {config.layers}, but {config.path!r} has {len(layers)} layers",
            f"set model.layers to {len(layers)} or fewer, or leave it out",
        )
    del layers[config.layers :]
    kinds = getattr(model.config, "layer_types", None)
    if kinds:
        model.config.layer_types = kinds[: config.layers]
    model.config.num_hidden_layers = config.layers


# Attribute paths of the list of layers below the base model, by family.
_PLACES = ("encoder.layer", "transformer.layer", "layers", "h")


def _layers(model: PreTrainedModel) -> nn.ModuleList | None:
    """Return a model's list of layers, or None if it is in no known place."""
    for place in _PLACES:
        found: Any = model.base_model
        for name in place.split("."):
            found = getattr(found, name, None)
        if isinstance(found, nn.ModuleList):
            return found
    return None


def check_padding(model: nn.Module, padding: int, config: ModelConfig) -> None:
    """Raise ModelError for a decoder whose padding id differs from the tokenizer's.

    A decoder returns the logits of the last token that is not padding, so it would read a padding token.
    """
    known = getattr(model.config, "pad_token_id", None)
    if isinstance(getattr(model, "score", None), nn.Module) and known != padding:
        raise ModelError(
            f"{config.path!r}: pad_token_id is {known} in config.json, but the tokenizer pads with {padding}, so the "
            "decoder would not find the last token of a text",
            f"set pad_token_id to {padding} in config.json",
        )


def check_positions(model: nn.Module, config: ModelConfig) -> None:
    """Raise ModelError if a model has fewer positions than `config.max_length`."""
    base = model.base_model
    table = getattr(base, "wpe", None) or getattr(getattr(base, "embeddings", None), "position_embeddings", None)
    if not isinstance(table, nn.Embedding):
        return
    # RoBERTa counts positions from its padding id + 1; only there the table has a padding row.
    room = table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
    if config.max_length > room:
        raise ModelError(
            f"model.max_length is {config.max_length}, but {config.path!r} has {room} positions",
            f"set model.max_length to {room} or less",
        )
