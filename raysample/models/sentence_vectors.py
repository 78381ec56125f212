"""Sentence vectors of an encoder: the mean of the last hidden states over the tokens, scaled to length 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor, nn

from raysample.core.config import ModelConfig
from raysample.core.errors import ModelError
from raysample.core.numerics.batches import token_batches
from raysample.core.numerics.precision import autocast, resolve
from raysample.core.numerics.to_device import moved
from raysample.models.building import build_model, tokenizer
from raysample.models.encoding import encode
from raysample.models.padding import pad

BATCH_TOKENS = 4_096
_BLOCK = 8_192


def sentence_vectors(
    texts: Sequence[str], config: ModelConfig, device: str = "cpu", tokens: int = BATCH_TOKENS
) -> npt.NDArray[np.float16]:
    """Return the vectors of texts, [N, H] float16, by an encoder that is not fine-tuned.

    Args:
        texts: the texts.
        config: the encoder's folder or name (not `tiny`, which has learnt nothing), its layers and its length limit.
        device: where the encoder runs.
        tokens: tokens of a mini-batch, padding included.

    Raises:
        ModelError: the encoder cannot be loaded, or gives vectors that are not finite.
    """
    model = build_model(config.path, config, ("one", "other"), seed=0)
    encoder = getattr(model, str(model.base_model_prefix)).to(device)
    dtype, splits = resolve("auto", encoder, device), tokenizer(config.path, trust_remote_code=config.trust_remote_code)
    parts = []
    for start in range(0, len(texts), _BLOCK):
        block = texts[start : start + _BLOCK]
        table = pa.table({"text": pa.array(block, pa.string()), "text_pair": pa.nulls(len(block), pa.string())})
        encoded = encode(splits, table, config)
        result = np.empty((len(block), encoder.config.hidden_size), np.float16)
        for rows in token_batches(encoded.lengths, tokens):
            batch = moved(pad(encoded, rows.tolist(), int(splits.pad_token_id or 0)), device)
            with torch.inference_mode(), autocast(device, dtype):
                result[rows] = _pooled(encoder, batch).cpu().numpy()
        parts.append(result)
    vectors = np.concatenate(parts) if parts else np.empty((0, encoder.config.hidden_size), np.float16)
    if not np.isfinite(vectors).all():
        raise ModelError(
            f"{config.path!r} gives {int((~np.isfinite(vectors)).any(1).sum()):,} texts vectors that are not finite",
            "take another encoder, or none: then n-grams are used",
        )
    return vectors


def _pooled(encoder: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Return the mean of the last hidden states over the tokens of each row, of length 1, [B, H] float16."""
    states = encoder(**batch).last_hidden_state.float()
    mask = batch["attention_mask"][:, :, None].float()
    mean = (states * mask).sum(1) / mask.sum(1).clamp_min(1)
    return nn.functional.normalize(mean, dim=1).half()
