"""A tokenizer that gives ids beyond the embedding table is refused when the model is opened, by every verb."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import raysample
from raysample import models, testing
from raysample.core.config import ModelConfig
from raysample.core.errors import ModelError
from raysample.models.compatibility import check_vocabulary, largest_id
from raysample.testing import Family, tiny_model, tiny_tokenizer

WAY_OUT = r"resize_token_embeddings"


def room(words: Any) -> int:
    return max(words.get_vocab().values()) + 1


def folder(place: Path, family: Family = "bert", lacking: int = 1) -> str:
    words = tiny_tokenizer(family)
    models.save_model(tiny_model(family, vocabulary=room(words) - lacking), words, place)
    return str(place)


@pytest.mark.parametrize("family", ["bert", "gpt2", "deberta-v2"])
def test_a_table_that_is_too_small_is_refused_and_one_that_fits_is_not(family: Family) -> None:
    words = tiny_tokenizer(family)
    check_vocabulary(tiny_model(family, vocabulary=room(words)), words, "fits")
    with pytest.raises(ModelError, match=WAY_OUT) as caught:
        check_vocabulary(tiny_model(family, vocabulary=room(words) - 1), words, "small")
    assert "'small'" in caught.value.problem
    assert str(room(words) - 1) in caught.value.problem


def test_added_tokens_and_a_new_padding_token_count() -> None:
    words = tiny_tokenizer("bert")
    network = tiny_model("bert", vocabulary=room(words))
    words.add_tokens(["<special>"])
    with pytest.raises(ModelError, match="'<special>'"):
        check_vocabulary(network, words, "added")
    network.resize_token_embeddings(len(words))
    check_vocabulary(network, words, "resized")
    words.add_special_tokens({"pad_token": "<new pad>"})
    with pytest.raises(ModelError, match="'<new pad>'"):
        check_vocabulary(network, words, "padded")


def test_what_counts_are_ids_not_the_length() -> None:
    class Gaps:
        """As of tokenizers whose `len` counts tokens that share ids, or leaves ids out."""

        pad_token_id, pad_token = 0, "<pad>"

        @property
        def added_tokens_decoder(self) -> dict[int, str]:
            return {}

        def get_vocab(self) -> dict[str, int]:
            return {"<pad>": 0, "a": 7, "b": 7}

        def __len__(self) -> int:
            return 500

    gaps: Any = Gaps()
    assert largest_id(gaps)[1] == 7
    check_vocabulary(tiny_model("bert", vocabulary=8), gaps, "gaps")
    with pytest.raises(ModelError, match=WAY_OUT):
        check_vocabulary(tiny_model("bert", vocabulary=7), gaps, "gaps")


def test_fine_tuning_and_adopting_refuse_by_name(tmp_path: Path) -> None:
    place = folder(tmp_path / "small")
    rows = testing.tiny_corpus_files(tmp_path / "rows", 12, 0, files=1)
    with pytest.raises(ModelError, match=WAY_OUT):
        models.prepare_base(ModelConfig(path=place, max_length=16), None, str(tmp_path / "base"))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=WAY_OUT):
        raysample.adopt([place], str(tmp_path / "run"), labels=testing.LABELS)
    assert rows


def test_a_set_that_was_made_before_is_refused_by_the_scoring(tmp_path: Path) -> None:
    trace = testing.tiny_checkpoints(tmp_path / "run", 1)
    words = models.tokenizer(trace.tokenizer)
    network = models.load_model(trace.checkpoints[0].uri)
    words.add_tokens([f"<{i}>" for i in range(200)])
    with pytest.raises(ModelError, match=WAY_OUT):
        models.check_vocabulary(network, words, "run")
