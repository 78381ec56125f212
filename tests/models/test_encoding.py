"""Tokens of single texts and of pairs, and their padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from raysample import models
from raysample.core.config import ModelConfig
from raysample.testing import FAMILIES, TYPED, Family, tiny_model, tiny_rows, tiny_tokenizer
from tests.helpers.model_folders import texts_table


def test_encode_single_pairs_and_mixed() -> None:
    words = tiny_tokenizer()
    rows = texts_table(["the pond", "a moon", "red"], [None, "the old moss", None])
    encoded = models.encode(words, rows, ModelConfig(max_length=24))
    assert encoded.types is not None
    assert encoded.lengths.tolist() == [4, 8, 3]
    assert encoded.lengths.dtype == encoded.ids[0].dtype == np.int32
    assert words.decode(encoded.ids[1]) == "[CLS] a moon [SEP] the old moss [SEP]"
    assert encoded.types[1].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert encoded.ids[0].tolist() == words("the pond")["input_ids"]
    assert models.encode(words, rows.slice(0, 0), ModelConfig(max_length=24)).ids == []


def test_encode_truncates_the_longer_of_a_pair() -> None:
    words = tiny_tokenizer()
    rows = texts_table(["the " * 30, "the " * 30], ["moon", None])
    encoded = models.encode(words, rows, ModelConfig(max_length=8))
    assert encoded.lengths.tolist() == [8, 8]
    assert words.decode(encoded.ids[0]) == "[CLS] the the the the [SEP] moon [SEP]"


@pytest.mark.parametrize("family", FAMILIES)
def test_token_types_only_where_the_model_takes_them(family: Family) -> None:
    encoded = models.encode(tiny_tokenizer(family), tiny_rows(3), ModelConfig(max_length=16))
    assert (encoded.types is not None) == (family in TYPED)
    assert ("token_type_ids" in models.pad(encoded, [0], 0)) == (family in TYPED)


def test_pad_goes_to_the_longest_of_the_chosen_rows() -> None:
    words = tiny_tokenizer()
    encoded = models.encode(words, texts_table(["the", "the old moss", "the " * 9]), ModelConfig(max_length=24))
    batch = models.pad(encoded, np.array([1, 0]), pad_id=7)
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids"}
    assert all(value.dtype == torch.int64 and value.shape == (2, 5) for value in batch.values())
    assert batch["input_ids"][1].tolist() == [*encoded.ids[0].tolist(), 7, 7]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert models.pad(encoded, [], 0)["input_ids"].shape == (0, 0)


def test_take_keeps_order_and_tokens() -> None:
    encoded = models.encode(tiny_tokenizer(), tiny_rows(6), ModelConfig(max_length=24))
    some = encoded.take(np.array([4, 1]))
    assert some.lengths.tolist() == encoded.lengths[[4, 1]].tolist()
    assert some.ids[0] is encoded.ids[4]
    assert torch.equal(models.pad(some, [1], 0)["input_ids"], models.pad(encoded, [1], 0)["input_ids"])


def cut(words: PreTrainedTokenizerBase, rows: pa.Table, **settings: Any) -> list[str]:
    encoded = models.encode(words, rows, ModelConfig(**settings))
    return [words.decode(ids) for ids in encoded.ids]


def test_the_side_that_is_cut_can_be_chosen_and_is_the_tokenizer_s_own_by_default() -> None:
    words, rows = tiny_tokenizer(), texts_table(["the old moss saw a moon", "a pond"])
    right, left = "[CLS] the old [SEP]", "[CLS] a moon [SEP]"
    assert cut(words, rows, max_length=4)[0] == right
    assert cut(words, rows, max_length=4, truncation_side="left")[0] == left
    own = tiny_tokenizer()
    own.truncation_side = "left"
    assert cut(own, rows, max_length=4)[0] == left
    assert cut(own, rows, max_length=4, truncation_side="right")[0] == right


def test_the_text_of_a_pair_that_is_cut_can_be_chosen() -> None:
    words = tiny_tokenizer()
    rows = texts_table(["the old moss", "the", "a pond", "the " * 9], ["a moon a moon", "moon", "moon " * 9, None])
    assert cut(words, rows, max_length=8) == [
        "[CLS] the old [SEP] a moon a [SEP]",
        "[CLS] the [SEP] moon [SEP]",
        "[CLS] a pond [SEP] moon moon moon [SEP]",
        "[CLS] the the the the the the [SEP]",
    ]
    second = cut(words, rows, max_length=8, pair_truncation="only_second")
    assert second == ["[CLS] the old moss [SEP] a moon [SEP]", *cut(words, rows, max_length=8)[1:]]
    assert cut(words, rows, max_length=8, pair_truncation="only_first") == [
        "[CLS] the [SEP] a moon a moon [SEP]",
        "[CLS] the [SEP] moon [SEP]",
        # Nine moons alone are too many: cutting the first text cannot be enough, so the longer one is cut.
        "[CLS] a pond [SEP] moon moon moon [SEP]",
        "[CLS] the the the the the the [SEP]",
    ]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("strategy", ["only_first", "only_second"])
def test_no_pair_is_longer_than_asked_for_and_each_is_what_the_tokenizer_alone_makes(
    family: Family, strategy: str
) -> None:
    """Slow twin: every pair tokenised by itself, with the strategy where it works, else with the default one."""
    words, rng = tiny_tokenizer(family), np.random.default_rng(0)
    texts = [" ".join(["moss"] * int(n)) for n in rng.integers(1, 14, 60)]
    pairs: list[str | None] = [" ".join(["pond"] * int(n)) for n in rng.integers(1, 14, 60)]
    found = models.encode(words, texts_table(texts, pairs), ModelConfig(max_length=12, pair_truncation=strategy))
    assert found.lengths.max() == 12
    for ids, text, pair in zip(found.ids, texts, pairs, strict=True):
        try:
            alone = words(text, pair, truncation=strategy, max_length=12)["input_ids"]
        except Exception:
            alone = words(text, pair, truncation="longest_first", max_length=12)["input_ids"]
        assert ids.tolist() == alone


def test_pad_rounds_up_to_a_multiple_but_not_beyond_the_positions() -> None:
    words = tiny_tokenizer()
    encoded = models.encode(
        words, texts_table(["the " * 3, "the " * 9]), ModelConfig(max_length=12, pad_to_multiple_of=8)
    )
    assert models.pad(encoded, [0], 0)["input_ids"].shape == (1, 8)
    assert models.pad(encoded.take([1, 0]), [0, 1], 0)["input_ids"].shape == (2, 12)
    assert models.pad(encoded, [0], 0)["attention_mask"].tolist() == [[1] * 5 + [0] * 3]
    plain = models.encode(words, texts_table(["the " * 3]), ModelConfig(max_length=12))
    logits = [tiny_model()(**models.pad(each, [0], words.pad_token_id)).logits for each in (encoded, plain)]
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-5, atol=1e-6)


def test_the_settings_of_tokenising_are_part_of_what_runs_are_known_by() -> None:
    changed = ModelConfig(truncation_side="left", pad_to_multiple_of=8)
    settings = {"truncation_side": "left", "pair_truncation": "longest_first", "pad_to_multiple_of": 8}
    assert changed.tokenising == settings
    assert settings.items() <= changed.to_dict().items()
    assert ModelConfig.model_validate(changed.to_dict()) == changed
