"""Padded mini-batches of token ids, on the side that the tokenizer pads, and the positions that go with them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from raysample.models.encoding import Encoded, IntArray, Rows


def pad(encoded: Encoded, rows: Rows, pad_id: int) -> dict[str, Tensor]:
    """Return one mini-batch, padded to the longest of `rows` on `encoded.side`: int64 tensors [len(rows), width].

    `input_ids`, `attention_mask` (1 for real tokens) and, where the model takes them, `token_type_ids`.
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


def _filled(sequences: Sequence[IntArray], width: int, value: int, left: bool) -> Tensor:
    block = np.full((len(sequences), width), value, np.int64)
    for row, sequence in zip(block, sequences, strict=True):
        start = width - len(sequence) if left else 0
        row[start : start + len(sequence)] = sequence
    return torch.from_numpy(block)


def count_positions(model: nn.Module) -> None:
    """Let a model count the positions of rows that are padded on the left from their first token, as in a row alone.

    For models that count from the first place of the mini-batch and take `position_ids`; RoBERTa and its kin, which
    tell padding by its id, count right already. Mini-batches without padding on the left go in as they are.
    """
    if "position_ids" in inspect.signature(model.forward).parameters and not _counts_tokens(model):
        model.register_forward_pre_hook(_with_positions, with_kwargs=True)


def _counts_tokens(model: nn.Module) -> bool:
    """Tell whether a model makes positions of the ids themselves: its table of positions has a padding row then."""
    tables = [module for name, module in model.named_modules() if name.rpartition(".")[2] == "position_embeddings"]
    return any(isinstance(table, nn.Embedding) and table.padding_idx is not None for table in tables)


def _with_positions(
    _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    mask = kwargs.get("attention_mask")
    if kwargs.get("position_ids") is not None or mask is None or mask.dim() != 2 or bool(mask[:, 0].all()):
        return None
    return args, {**kwargs, "position_ids": (mask.long().cumsum(1) - 1).clamp(min=0)}
