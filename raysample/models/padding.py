"""Padded mini-batches of token ids, on the side on which the tokenizer pads, and their positions."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from raysample.core.arrays import Int32Array
    from raysample.models.encoding import Encoded, RowIndices


def pad(encoded: Encoded, rows: RowIndices, pad_id: int) -> dict[str, Tensor]:
    """Return one mini-batch, padded to the longest of `rows` on `encoded.side`: int64 tensors [len(rows), width].

    `input_ids`, `attention_mask` (1 for real tokens) and, if the model takes them, `token_type_ids`.
    """
    lengths, width = encoded.lengths[np.asarray(rows, np.int64)], encoded.width(rows)
    left = encoded.side == "left"
    places = np.arange(width)[::-1] if left else np.arange(width)
    batch = {
        "input_ids": _filled([encoded.ids[i] for i in rows], width, pad_id, left),
        "attention_mask": torch.from_numpy((places < lengths[:, None]).astype(np.int64)),
    }
    if encoded.types is not None:
        batch["token_type_ids"] = _filled([encoded.types[i] for i in rows], width, encoded.pad_type, left)
    return batch


def _filled(sequences: Sequence[Int32Array], width: int, value: int, left: bool) -> Tensor:
    """Return sequences as one int64 tensor [len(sequences), width], filled with `value` on one side."""
    block = np.full((len(sequences), width), value, np.int64)
    for row, sequence in zip(block, sequences, strict=True):
        start = width - len(sequence) if left else 0
        row[start : start + len(sequence)] = sequence
    return torch.from_numpy(block)


def count_positions(model: nn.Module) -> None:
    """Make a model count the positions of left-padded rows from their first token, as for a row alone.

    For models that count from the first position of the mini-batch and accept `position_ids`; RoBERTa-like models,
    which recognise padding by its id, already count right. Mini-batches without left padding are passed unchanged.
    """
    if "position_ids" in inspect.signature(model.forward).parameters and not _counts_tokens(model):
        model.register_forward_pre_hook(_with_positions, with_kwargs=True)


def _counts_tokens(model: nn.Module) -> bool:
    """Return whether a model computes positions from the ids: its position table then has a padding row."""
    tables = [module for name, module in model.named_modules() if name.rpartition(".")[2] == "position_embeddings"]
    return any(isinstance(table, nn.Embedding) and table.padding_idx is not None for table in tables)


def _with_positions(
    _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Add `position_ids` [B, T] to the arguments of a forward with left padding."""
    mask = kwargs.get("attention_mask")
    if kwargs.get("position_ids") is not None or mask is None or mask.dim() != 2 or bool(mask[:, 0].all()):
        return None
    return args, {**kwargs, "position_ids": (mask.long().cumsum(1) - 1).clamp(min=0)}
