"""Tokens of single texts and of pairs, and their padding."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from raysample import model
from raysample.config import ModelConfig
from raysample.corpus import SCHEMA
from raysample.testing import FAMILIES, TYPED, Family, tiny_rows, tiny_tokenizer


def table(texts: list[str], pairs: list[str | None] | None = None) -> pa.Table:
    nothing = [None] * len(texts)
    columns = {"row_id": [str(i) for i in range(len(texts))], "text": texts, "text_pair": pairs or nothing}
    return pa.table({**columns, "label": [0] * len(texts), "group": nothing, "timestamp": nothing}, schema=SCHEMA)


def test_encode_single_pairs_and_mixed() -> None:
    words = tiny_tokenizer()
    rows = table(["the pond", "a moon", "red"], [None, "the old moss", None])
    encoded = model.encode(words, rows, ModelConfig(max_length=24))
    assert encoded.types is not None
    assert encoded.lengths.tolist() == [4, 8, 3]
    assert encoded.lengths.dtype == encoded.ids[0].dtype == np.int32
    assert words.decode(encoded.ids[1]) == "[CLS] a moon [SEP] the old moss [SEP]"
    assert encoded.types[1].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert encoded.ids[0].tolist() == words("the pond")["input_ids"]
    assert model.encode(words, rows.slice(0, 0), ModelConfig(max_length=24)).ids == []


def test_encode_truncates_the_longer_of_a_pair() -> None:
    words = tiny_tokenizer()
    rows = table(["the " * 30, "the " * 30], ["moon", None])
    encoded = model.encode(words, rows, ModelConfig(max_length=8))
    assert encoded.lengths.tolist() == [8, 8]
    assert words.decode(encoded.ids[0]) == "[CLS] the the the the [SEP] moon [SEP]"


@pytest.mark.parametrize("family", FAMILIES)
def test_token_types_only_where_the_model_takes_them(family: Family) -> None:
    encoded = model.encode(tiny_tokenizer(family), tiny_rows(3), ModelConfig(max_length=16))
    assert (encoded.types is not None) == (family in TYPED)
    assert ("token_type_ids" in model.pad(encoded, [0], 0)) == (family in TYPED)


def test_pad_goes_to_the_longest_of_the_chosen_rows() -> None:
    words = tiny_tokenizer()
    encoded = model.encode(words, table(["the", "the old moss", "the " * 9]), ModelConfig(max_length=24))
    batch = model.pad(encoded, np.array([1, 0]), pad_id=7)
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids"}
    assert all(value.dtype == torch.int64 and value.shape == (2, 5) for value in batch.values())
    assert batch["input_ids"][1].tolist() == [*encoded.ids[0].tolist(), 7, 7]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert model.pad(encoded, [], 0)["input_ids"].shape == (0, 0)


def test_take_keeps_order_and_tokens() -> None:
    encoded = model.encode(tiny_tokenizer(), tiny_rows(6), ModelConfig(max_length=24))
    some = encoded.take(np.array([4, 1]))
    assert some.lengths.tolist() == encoded.lengths[[4, 1]].tolist()
    assert some.ids[0] is encoded.ids[4]
    assert torch.equal(model.pad(some, [1], 0)["input_ids"], model.pad(encoded, [1], 0)["input_ids"])
