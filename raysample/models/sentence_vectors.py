"""Sentence vectors of an encoder: the mean of the last hidden states over the tokens, scaled to length 1."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor, nn

from raysample.core.config import ModelConfig
from raysample.core.errors import ModelError
from raysample.core.numerics.batches import token_batches
from raysample.core.numerics.precision import autocast, resolve
from raysample.core.numerics.precision import device as current_device
from raysample.core.numerics.to_device import moved
from raysample.models.building import tokenizer
from raysample.models.encoding import encode
from raysample.models.padding import pad
from raysample.models.pooled_classifier import build_encoder, unit_mean

BATCH_TOKENS = 4_096
_BLOCK = 8_192


@dataclass(frozen=True, eq=False)
class SentenceEncoder:
    """A frozen encoder with its tokenizer, loaded by `load`.

    Attributes:
        config: the encoder's folder or name, its layers and its length limit.
        encoder: the network without its head. tokenizer: its tokenizer.
        device: where it runs. dtype: the precision that it is run in.
    """

    config: ModelConfig
    encoder: nn.Module
    tokenizer: Any
    device: str
    dtype: torch.dtype | None

    @staticmethod
    def load(config: ModelConfig, device: str = "cpu") -> SentenceEncoder:
        """Load an encoder (not `tiny`, which has learnt nothing); raises ModelError if that is impossible."""
        encoder = build_encoder(config).to(device).eval()
        dtype = resolve("auto", encoder, device)
        return SentenceEncoder(
            config, encoder, tokenizer(config.path, trust_remote_code=config.trust_remote_code), device, dtype
        )

    @property
    def dimension(self) -> int:
        """H, the length of a vector."""
        return int(self.encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]

    def vectors(self, texts: Sequence[str], tokens: int = BATCH_TOKENS) -> npt.NDArray[np.float16]:
        """Return the vectors of texts, [N, H] float16.

        Args:
            texts: the texts.
            tokens: tokens of a mini-batch, padding included.

        Raises:
            ModelError: the encoder gives vectors that are not finite.
        """
        parts = [self._block(texts[start : start + _BLOCK], tokens) for start in range(0, len(texts), _BLOCK)]
        vectors = np.concatenate(parts) if parts else np.empty((0, self.dimension), np.float16)
        if not np.isfinite(vectors).all():
            raise ModelError(
                f"{self.config.path!r} gives {int((~np.isfinite(vectors)).any(1).sum()):,} texts vectors that are not "
                "finite",
                "take another encoder, or none: then n-grams are used",
            )
        return vectors

    def _block(self, texts: Sequence[str], tokens: int) -> npt.NDArray[np.float16]:
        """Return the vectors of some texts, in mini-batches of texts of similar length."""
        table = pa.table({"text": pa.array(texts, pa.string()), "text_pair": pa.nulls(len(texts), pa.string())})
        encoded = encode(self.tokenizer, table, self.config)
        result = np.empty((len(texts), self.dimension), np.float16)
        for rows in token_batches(encoded.lengths, tokens):
            batch = moved(pad(encoded, rows.tolist(), int(self.tokenizer.pad_token_id or 0)), self.device)
            with torch.inference_mode(), autocast(self.device, self.dtype):
                result[rows] = _pooled(self.encoder, batch).cpu().numpy()
        return result


def seconds_per_text(config: ModelConfig, texts: Sequence[str]) -> float:
    """Return the seconds that an encoder takes for one of these texts, on this process's device, once it is warm."""
    encoder = SentenceEncoder.load(config, current_device())
    encoder.vectors(texts[:32])
    began = time.perf_counter()
    encoder.vectors(texts)
    return (time.perf_counter() - began) / len(texts)


def _pooled(encoder: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Return the mean of the last hidden states over the tokens of each row, of length 1, [B, H] float16."""
    return unit_mean(encoder(**batch).last_hidden_state, batch["attention_mask"]).half()
