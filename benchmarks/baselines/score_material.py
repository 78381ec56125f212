"""What is scored: rows that do not repeat, checkpoints of a random or given encoder, and some shards in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import nn

from raysample import models as model
from raysample.core.config import Columns, ModelConfig, SourceConfig
from raysample.data import checkpoint_set
from raysample.data.checkpoint_set import Checkpoint, CheckpointSet
from raysample.data.corpus import Corpus, describe_source
from raysample.models import Encoded

CLASSES = 4
WORDS = (4, 50)


def made_up_corpus(folder: Path, rows: int, shard_rows: int, seed: int) -> Corpus:
    """Describe `rows` made-up texts of 4 to 50 words, all different, one Parquet file for every 16 shards."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, int(rng.integers(3, 10)))) for _ in range(3_000)]
    texts = [" ".join(words[i] for i in rng.integers(0, len(words), rng.integers(*WORDS))) for _ in range(rows)]
    labels = [f"class {i}" for i in rng.integers(0, CLASSES, rows)]
    labels[:CLASSES] = [f"class {i}" for i in range(CLASSES)]
    source = folder / "source"
    source.mkdir(parents=True)
    table = pa.table({"id": [f"{seed}-{i}" for i in range(rows)], "text": texts, "label": labels})
    for i, start in enumerate(range(0, rows, 16 * shard_rows)):
        pq.write_table(table.slice(start, 16 * shard_rows), source / f"part-{i:05d}.parquet")
    given = SourceConfig(path=str(source), columns=Columns(id="id"))
    return describe_source(given, str(folder / "corpus"), shard_rows=shard_rows)


def made_up_run(folder: Path, spec: ModelConfig, corpus: Corpus, count: int) -> CheckpointSet:
    """Write `count` sealed checkpoints of a run that was none: each is the one before it with some noise added."""
    base = model.prepare_base(spec, corpus, str(folder / "base"))
    network, words = model.build_model(base, spec, corpus.labels, seed=0), model.tokenizer(base)
    draw, found = torch.Generator().manual_seed(0), list[Checkpoint]()
    for k in range(1, count + 1):
        place = folder / f"step-{k:06d}"
        model.save_model(network, words, place)
        checkpoint_set.seal_checkpoint(place)
        found.append(Checkpoint(str(place), step=k, epoch=float(k), learning_rate=1e-3))
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(0.1 * weight.abs().mean() * torch.randn(weight.shape, generator=draw))
    told = {"model": spec.to_dict()}
    return CheckpointSet(tuple(found), corpus.labels, seed=0, config=told).save(str(folder))


@dataclass(frozen=True)
class Material:
    """The corpus, the run, its models in memory with frozen weights, and how the rows are cut."""

    corpus: Corpus
    trace: CheckpointSet
    models: Sequence[nn.Module]
    max_length: int
    batch_tokens: int

    @staticmethod
    def of(corpus: Corpus, trace: CheckpointSet, max_length: int, batch_tokens: int) -> Material:
        """Load the models."""
        models = [model.load_model(at.uri).requires_grad_(False) for at in trace.checkpoints]
        return Material(corpus, trace, models, max_length, batch_tokens)

    def block(self, shard: int) -> Block:
        """Read and tokenise one shard; raises ValueError where rows repeat, as scoring visits those once."""
        words, rows = model.tokenizer(self.trace.checkpoints[0].uri), self.corpus.read(shard)
        encoded, labels = (
            model.encode(words, rows, ModelConfig(max_length=self.max_length)),
            rows["label"].to_numpy().astype(np.int64),
        )
        if len(encoded.distinct(labels)[0]) < len(labels):
            raise ValueError("two rows have the same tokens and label: take other rows, or longer ones")
        return Block(encoded, labels, int(words.pad_token_id))


@dataclass(frozen=True)
class Block:
    """The tokens and labels of one shard."""

    encoded: Encoded
    labels: NDArray[np.int64]
    pad_id: int

    def padded(self, rows: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """Return the inputs of some rows, padded to the longest of them."""
        return model.pad(self.encoded, rows, self.pad_id)
