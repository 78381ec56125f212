"""Small corpora and runs that the tests of references share; real models, no Ray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from raysample import models
from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.influence.references import Request
from raysample.testing import tiny_checkpoints
from raysample.training.fine_tuning import Job, execute, finish_job
from tests.helpers.corpora import tiny_corpus

SPEC = ModelConfig(path="tiny", max_length=16, hidden_size=16, vocabulary_size=120, dropout=0.0)
RECIPE = FineTuneConfig(epochs=2, batch_size=16, learning_rate=2e-3, head_learning_rate=5e-3, checkpoints=3, seed=5)


def described(folder: Path, rows: int, seed: int = 0, **options: Any) -> Corpus:
    """Write and describe a small corpus with the labels of the tiny models."""
    return tiny_corpus(folder, rows, seed, shard_rows=32, **options)


def made_up(folder: Path, rows: int = 60, checkpoints: int = 2) -> Request:
    """Return a request on drifting checkpoints that were never trained, with one target, `held_out`."""
    corpus, target = described(folder / "train", rows), described(folder / "target", 12, seed=7)
    trace = tiny_checkpoints(folder / "run", checkpoints)
    return Request(
        corpus=corpus.uri,
        checkpoints=trace.uri,
        targets={"held_out": target.uri},
        model=ModelConfig(max_length=16),
        batch_tokens=64,
        precision="float32",
        folder=str(folder / "references"),
    )


def trained(folder: Path, recipe: FineTuneConfig = RECIPE, rows: int = 60, **more: Any) -> Request:
    """Fine-tune a tiny model from scratch and return a request on its run."""
    corpus, test = described(folder / "train", rows), described(folder / "test", 12, seed=7)
    base = models.prepare_base(SPEC, corpus, str(folder / "base"))
    job = Job(corpus.uri, test.uri, base, SPEC, recipe, folder=str(folder / "run"), **more)
    trace = finish_job(job, execute(job))
    return Request(corpus.uri, trace.uri, {"test": test.uri}, SPEC, 64, "float32", str(folder / "references"))


def changed(request: Request, **fields: Any) -> CheckpointSet:
    """Rewrite some fields of a request's CheckpointSet manifest."""
    trace = CheckpointSet.load(request.checkpoints)
    return replace(trace, **fields).save(request.checkpoints)


def batch_of(request: Request, uri: str) -> tuple[dict[str, Tensor], Tensor]:
    """Return a whole corpus as one padded mini-batch."""
    table = Corpus.load(uri).table()
    words = models.tokenizer(CheckpointSet.load(request.checkpoints).checkpoints[0].uri)
    encoded = models.encode(words, table, request.model)
    inputs = models.pad(encoded, range(len(table)), int(words.pad_token_id))
    return inputs, torch.tensor(table["label"].to_pylist())
