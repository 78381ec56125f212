"""What raysample.testing promises to the other tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from raysample import models
from raysample.core.config import ModelConfig
from raysample.data import checkpoint_set
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import CORPUS_SCHEMA
from raysample.testing import (
    FAMILIES,
    LABELS,
    Family,
    tiny_batch,
    tiny_checkpoints,
    tiny_corpus_files,
    tiny_model,
    tiny_rows,
    tiny_texts,
    tiny_tokenizer,
)


@pytest.mark.parametrize("family", FAMILIES)
def test_tiny_model_is_a_function_of_its_arguments(family: Family) -> None:
    before = torch.get_rng_state()
    one, same, other = tiny_model(family), tiny_model(family), tiny_model(family, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    inputs, labels = tiny_batch()
    with torch.no_grad():
        logits = one(**inputs).logits
        assert torch.equal(logits, same(**inputs).logits)
        assert not torch.allclose(logits, other(**inputs).logits)
    assert logits.shape == (6, 3)
    assert labels.shape == (6,)
    assert not one.training
    one.train()
    assert not torch.equal(one(**inputs).logits, one(**inputs).logits)  # dropout


def test_tiny_batch_is_ragged_and_its_padding_is_zero() -> None:
    inputs, labels = tiny_batch(rows=20, length=9, labels=4, seed=3)
    lengths = inputs["attention_mask"].sum(1)
    assert lengths.max() == 9
    assert lengths.min() < 9
    assert torch.equal(inputs["input_ids"] > 0, inputs["attention_mask"] > 0)
    assert 0 <= labels.min() <= labels.max() < 4


@pytest.mark.parametrize("family", FAMILIES)
def test_tokenizer_knows_all_words_and_fits_the_model(family: Family) -> None:
    words = tiny_tokenizer(family)
    encoded = models.encode(words, tiny_rows(50), ModelConfig(max_length=32))
    assert all(words.unk_token_id not in ids for ids in encoded.ids)
    with torch.no_grad():
        logits = tiny_model(family)(**models.pad(encoded, range(50), words.pad_token_id)).logits
    assert logits.shape == (50, 3)


def test_rows_are_seeded_and_in_the_corpus_schema() -> None:
    assert tiny_rows(10).schema == CORPUS_SCHEMA
    assert tiny_rows(10).equals(tiny_rows(10))
    assert not tiny_rows(10).equals(tiny_rows(10, seed=1))
    texts, labels = tiny_texts(300)
    assert set(labels) == {0, 1, 2}
    assert {4, 12} <= {len(text.split()) for text in texts}


def test_corpus_files_hold_all_rows(tmp_path: Path) -> None:
    folder = tiny_corpus_files(tmp_path / "corpus", rows=201, files=3)
    tables = [pq.read_table(path) for path in sorted(Path(folder).iterdir())]
    assert [len(table) for table in tables] == [67, 67, 67]
    assert tables[0].column_names == ["id", "text", "label"]
    assert set(tables[0]["label"].to_pylist()) == set(LABELS)


def test_rows_are_learnable() -> None:
    """Words of the class give nine tenths of the rows away: a bag of words must find them."""
    texts, labels = tiny_texts(400)
    from raysample.testing.tiny import _OWN

    guess = [int(np.argmax([sum(word in own for word in text.split()) for own in _OWN])) for text in texts]
    assert 0.85 < np.mean(np.array(guess) == np.array(labels)) < 1


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoints_are_sealed_and_drift(family: Family, tmp_path: Path) -> None:
    trace = tiny_checkpoints(tmp_path, n=3, family=family)
    assert CheckpointSet.load(str(tmp_path)) == trace
    assert trace.labels == LABELS
    assert [checkpoint.step for checkpoint in trace.checkpoints] == [10, 20, 30]
    inputs, _ = tiny_batch()
    for checkpoint in trace.checkpoints:
        checkpoint_set.verify_checkpoint(checkpoint.uri)
    with torch.no_grad():
        first, *_, last = (models.load_model(checkpoint.uri)(**inputs).logits for checkpoint in trace.checkpoints)
        assert torch.equal(first, tiny_model(family)(**inputs).logits)
    assert not torch.allclose(first, last, atol=1e-2)
    assert models.tokenizer(trace.checkpoints[0].uri).pad_token_id == 0
    again = tiny_checkpoints(tmp_path / "again", n=3, family=family)
    assert again.fingerprint == trace.fingerprint
