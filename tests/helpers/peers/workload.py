"""Random BERT classifiers and made-up rows: the same sizes give the same weights and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from raysample.core.numerics.batches import token_batches
from raysample.data.checkpoint_set import Checkpoint
from raysample.models import Encoded, pad

CLASSES = 4
TOKENS = (8, 64)
Layout = Literal["full", "padded"]
LAYOUTS: tuple[Layout, ...] = ("full", "padded")
Batch = tuple[dict[str, Tensor], Tensor]


@dataclass(frozen=True)
class Shape:
    """The size of an encoder: `layers` x `hidden`, and its vocabulary."""

    layers: int
    hidden: int
    vocabulary: int

    @property
    def name(self) -> str:
        """How tables and targets call it, for example `6x384`."""
        return f"{self.layers}x{self.hidden}"


def random_bert(shape: Shape, seed: int) -> nn.Module:
    """Return a random BERT classifier without dropout in eval mode, drawn wide enough for its examples to differ."""
    config = BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=12 if shape.hidden == 384 else max(1, shape.hidden // 64),
        intermediate_size=4 * shape.hidden,
        max_position_embeddings=TOKENS[1],
        initializer_range=0.5 / shape.hidden**0.5,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=CLASSES,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model: nn.Module = BertForSequenceClassification(config)
    return model.eval()


@dataclass(frozen=True)
class Work:
    """Rows of made-up tokens, the models of a made-up run (one per checkpoint), and how its rows are cut."""

    models: list[nn.Module]
    checkpoints: tuple[Checkpoint, ...]
    encoded: Encoded
    labels: NDArray[np.int64]
    batch_tokens: int

    @property
    def model(self) -> nn.Module:
        """The model of the first checkpoint: that of everything which looks at one checkpoint only."""
        return self.models[0]

    @property
    def order(self) -> NDArray[np.int64]:
        """Return the rows' positions in the order of the mini-batches."""
        return np.concatenate(list(token_batches(self.encoded.lengths, self.batch_tokens)))

    @cached_property
    def batches(self) -> list[Batch]:
        """The mini-batches that scoring would cut, padded."""
        return [self._batch(rows) for rows in token_batches(self.encoded.lengths, self.batch_tokens)]

    @cached_property
    def singles(self) -> list[Batch]:
        """One mini-batch per row in the order of `batches`, without padding."""
        return [self._batch(np.array([row])) for row in self.order]

    @cached_property
    def explicit(self) -> list[Batch]:
        """The mini-batches with position ids of their own for every row, without which hook engines are wrong."""
        return [(with_positions(inputs), labels) for inputs, labels in self.batches]

    def padded(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """Return the inputs of some rows, padded to the longest of them."""
        return pad(self.encoded, rows, 0)

    def _batch(self, rows: NDArray[np.int64]) -> Batch:
        return self.padded(rows), torch.from_numpy(self.labels[rows])


def with_positions(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return inputs [B, T] with explicit, contiguous `position_ids` [B, T]."""
    rows, tokens = inputs["input_ids"].shape
    return {**inputs, "position_ids": torch.arange(tokens).repeat(rows, 1)}


def made_up(shape: Shape, layout: Layout, rows: int, batch_tokens: int, checkpoints: int = 1) -> Work:
    """Return the same work for the same arguments: rows of 64 tokens (`full`) or of 8 to 64 (`padded`).

    The checkpoints lie in the epochs 1 to 3, where every score at its defaults looks, with falling learning rates.
    """
    rng = np.random.default_rng(0)
    lengths = np.full(rows, TOKENS[1], np.int32)
    if layout == "padded":
        lengths = rng.integers(TOKENS[0], TOKENS[1] + 1, rows).astype(np.int32)
    ids = [rng.integers(5, shape.vocabulary, length).astype(np.int32) for length in lengths]
    epochs = np.linspace(1, 3, checkpoints)
    return Work(
        [random_bert(shape, seed) for seed in range(checkpoints)],
        tuple(Checkpoint(f"checkpoint-{k}", 10 * (k + 1), float(e), 1e-3 / (k + 1)) for k, e in enumerate(epochs)),
        Encoded(ids, [np.zeros_like(row) for row in ids], lengths),
        rng.integers(0, CLASSES, rows),
        batch_tokens,
    )
