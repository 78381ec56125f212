"""Base folders, seeded heads, cut encoders, frozen parameters, checkpoints."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForCausalLM, BertForMaskedLM

from raysample import models
from raysample.core.config import ModelConfig
from raysample.core.errors import ModelError
from raysample.models.tiny import texts
from raysample.testing import FAMILIES, LABELS, Family, tiny_batch, tiny_model, tiny_rows, tiny_tokenizer
from tests.helpers.model_folders import Shelf, saved, shelf, texts_table

TINY = ModelConfig(hidden_size=16, vocabulary_size=120, max_length=24)


def logits(module: Any) -> torch.Tensor:
    inputs, _ = tiny_batch()
    with torch.no_grad():
        result: torch.Tensor = module(**inputs).logits
    return result


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return models.prepare_base(TINY, shelf(), str(tmp_path_factory.mktemp("base")))


def test_tiny_tokenizer_is_trained_on_the_corpus(tiny_base: str) -> None:
    words = models.tokenizer(tiny_base)
    assert words.is_fast
    assert len(words) <= 120
    assert words.tokenize("the pond saw moss") == ["the", "pond", "saw", "moss"]
    assert words.decode(words("the POND", "a moon")["input_ids"]) == "[CLS] the pond [SEP] a moon [SEP]"
    assert words("the pond", "a moon")["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]
    assert json.loads((Path(tiny_base) / "config.json").read_text())["vocab_size"] == len(words)


def test_tiny_base_is_deterministic(tiny_base: str, tmp_path: Path) -> None:
    """Each training seeds its hash tables anew: bare `tokenizers` gave another vocabulary every time."""
    for trial in range(5):
        base = Path(models.prepare_base(TINY, shelf(), str(tmp_path / str(trial))))
        for name in ("tokenizer.json", "config.json", "tokenizer_config.json"):
            assert (base / name).read_bytes() == (Path(tiny_base) / name).read_bytes(), name


def test_vocabulary_does_not_depend_on_the_cut_into_shards(tiny_base: str, tmp_path: Path) -> None:
    whole: Any = Shelf(pa.concat_tables([tiny_rows(150, seed=0), tiny_rows(150, seed=1)]))
    base = models.prepare_base(TINY, whole, str(tmp_path))
    assert (Path(base) / "tokenizer.json").read_bytes() == (Path(tiny_base) / "tokenizer.json").read_bytes()


def test_texts_of_large_corpora_are_thinned_evenly() -> None:
    many: Any = Shelf(*[texts_table([f"shard {i}"] * 10, ["pair", None] * 5) for i in range(10)])
    seen = list(texts(many, limit=40))
    assert [batch[0] for batch in seen[::2]] == ["shard 0", "shard 3", "shard 6", "shard 9"]
    assert seen[1] == ["pair"] * 5


def test_tiny_without_words_is_refused(tmp_path: Path) -> None:
    empty: Any = Shelf(texts_table(["", " "]))
    with pytest.raises(ModelError, match=r"check columns\.text"):
        models.prepare_base(TINY, empty, str(tmp_path))


def test_tiny_build_follows_the_seed_and_leaves_the_global_state(tiny_base: str) -> None:
    before = torch.get_rng_state()
    one, same, other = (models.build_model(tiny_base, TINY, LABELS, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name]), name
    assert not torch.equal(logits(one), logits(other))
    config: Any = one.config
    assert config.id2label == {0: "calm", 1: "quick", 2: "round"}
    assert config.label2id == {"calm": 0, "quick": 1, "round": 2}
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (16, 2, 4)
    assert not one.training
    assert all(weight.dtype == torch.float32 for weight in one.parameters())


def test_tiny_takes_layers_from_the_configuration(tmp_path: Path) -> None:
    config = TINY.model_copy(update={"layers": 3})
    built: Any = models.build_model(models.prepare_base(config, shelf(), str(tmp_path)), config, LABELS, 0)
    assert len(built.bert.encoder.layer) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_pretrained_keeps_the_encoder_and_draws_the_head(family: Family, tmp_path: Path) -> None:
    """Three classes in the folder, three asked for: the trained head must not be taken over all the same."""
    source = tiny_model(family)
    folder = saved(tmp_path / "base", family)
    config = ModelConfig(path=folder, max_length=32)
    assert models.prepare_base(config, shelf(), "unused") == folder
    one, same, other = (models.build_model(folder, config, LABELS, seed) for seed in (3, 3, 4))
    prefix = source.base_model_prefix
    for name, weight in source.state_dict().items():
        drawn = not name.startswith(prefix) and weight.dim() == 2  # biases and normalisations start alike
        assert torch.equal(weight, one.state_dict()[name]) is not drawn, name
        assert torch.equal(one.state_dict()[name], same.state_dict()[name]), name
        assert torch.equal(one.state_dict()[name], other.state_dict()[name]) is not drawn, name


def test_another_number_of_classes_gets_another_head(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    built = models.build_model(folder, ModelConfig(path=folder), [f"c{i}" for i in range(5)], 0)
    assert logits(built).shape == (6, 5)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "albert"])
def test_first_layers_are_kept(family: Family, tmp_path: Path) -> None:
    folder = saved(tmp_path / "deep", family, layers=3)
    config = ModelConfig(path=folder, layers=2, max_length=32)
    models.prepare_base(config, shelf(), "unused")
    built: Any = models.build_model(folder, config, LABELS, 0)
    deep = tiny_model(family, layers=3).state_dict()
    places = {name: found[1] for name in built.state_dict() if (found := re.search(r"\.(?:layers?|h)\.(\d)\.", name))}
    assert set(places.values()) == {"0", "1"}
    assert all(torch.equal(built.state_dict()[name], deep[name]) for name in places)
    models.save_model(built, tiny_tokenizer(family), tmp_path / "cut")
    assert torch.equal(logits(models.load_model(str(tmp_path / "cut"))), logits(built))


def test_too_few_layers_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    with pytest.raises(ModelError, match=r"set model\.layers to 2 or fewer"):
        models.prepare_base(ModelConfig(path=folder, layers=3), shelf(), "unused")


def test_a_layer_used_again_and_again_cannot_be_cut(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"AlbertForSequenceClassification[^$]*again and again[^$]*leave model\.layers out"
    ):
        models.prepare_base(ModelConfig(path=saved(tmp_path, "albert"), layers=1), shelf(), "unused")


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_a_language_model_is_a_base(family: Family, tmp_path: Path) -> None:
    source = AutoModelForCausalLM.from_config(tiny_model(family).config)
    models.save_model(source, tiny_tokenizer(family), tmp_path)
    config = ModelConfig(path=str(tmp_path), max_length=32)
    assert models.prepare_base(config, shelf(), "unused") == str(tmp_path)
    built: Any = models.build_model(str(tmp_path), config, LABELS, 0)
    for name, weight in source.base_model.state_dict().items():
        assert torch.equal(weight, built.base_model.state_dict()[name]), name
    assert built.config.use_cache is False


def test_a_decoder_must_know_the_padding(tmp_path: Path) -> None:
    saved(tmp_path, "llama")
    shape = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**shape, "pad_token_id": 5}))
    with pytest.raises(ModelError, match=r"pad_token_id is 5 in config.json[^$]*set pad_token_id to 0"):
        models.prepare_base(ModelConfig(path=str(tmp_path)), shelf(), "unused")


def test_frozen_parameters(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    freeze = [r"^bert\.embeddings", r"layer\.0\..*bias$"]

    def frozen(network: Any) -> set[str]:
        return {name for name, weight in network.named_parameters() if not weight.requires_grad}

    expected = {n for n, _ in tiny_model().named_parameters() if any(re.search(pattern, n) for pattern in freeze)}
    assert 5 < len(expected) < 20
    config = ModelConfig(path=folder, freeze=freeze, max_length=32)
    models.prepare_base(config, shelf(), "unused")
    assert frozen(models.build_model(folder, config, LABELS, 0)) == expected
    assert frozen(models.load_model(folder, freeze=freeze)) == expected
    assert frozen(models.load_model(folder)) == set()


@pytest.mark.parametrize(
    ("freeze", "words"),
    [
        (["^bert", "^roberta"], r"'\^roberta' matches no parameter of BertForSequenceClassification"),
        (["("], r"'\(' is no regular expression"),
        (["^bert", "."], r"match every parameter, so nothing is left to train"),
    ],
)
def test_patterns_that_do_not_fit_are_refused(freeze: list[str], words: str, tmp_path: Path) -> None:
    folder = saved(tmp_path)
    with pytest.raises(ModelError, match=words):
        models.prepare_base(ModelConfig(path=folder, freeze=freeze, max_length=32), shelf(), "unused")
    with pytest.raises(ModelError, match=words):
        models.load_model(folder, freeze=freeze)


@pytest.mark.parametrize(("family", "room"), [("bert", 72), ("roberta", 71), ("mpnet", 70), ("gpt2", 72)])
def test_max_length_must_fit_the_positions(family: Family, room: int, tmp_path: Path) -> None:
    folder = saved(tmp_path, family)
    models.prepare_base(ModelConfig(path=folder, max_length=room), shelf(), "unused")
    with pytest.raises(ModelError, match=f"set model.max_length to {room} or less"):
        models.prepare_base(ModelConfig(path=folder, max_length=room + 1), shelf(), "unused")


def test_half_precision_checkpoints_are_loaded_in_float32(tmp_path: Path) -> None:
    models.save_model(tiny_model().to(torch.bfloat16), tiny_tokenizer(), tmp_path)
    assert {weight.dtype for weight in models.load_model(str(tmp_path)).parameters()} == {torch.float32}
    built = models.build_model(str(tmp_path), ModelConfig(path=str(tmp_path)), LABELS, 0)
    assert {weight.dtype for weight in built.parameters()} == {torch.float32}


def test_saved_checkpoint_loads_equal_without_chatter(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = saved(tmp_path)
    assert torch.equal(logits(models.load_model(folder)), logits(tiny_model()))
    models.build_model(folder, ModelConfig(path=folder), ["a", "b"], 0)
    assert (tmp_path / "model.safetensors").exists()
    out, err = capfd.readouterr()
    assert out + err == ""


def test_masked_language_model_without_pooler_is_a_base(tmp_path: Path) -> None:
    source = BertForMaskedLM(tiny_model().config)
    models.save_model(source, tiny_tokenizer(), tmp_path)
    one, same = (models.build_model(str(tmp_path), ModelConfig(path=str(tmp_path)), LABELS, 0) for _ in range(2))
    assert torch.equal(logits(one), logits(same))
    with pytest.raises(ModelError, match=r"lacks 4 of its model's weights, for example 'bert\.pooler"):
        models.load_model(str(tmp_path))


def test_object_store_folders(tiny_base: str, tmp_path: Path) -> None:
    store = "memory://models"
    base = models.prepare_base(TINY, shelf(), f"{store}/base")
    assert base == f"{store}/base"
    assert torch.equal(
        logits(models.build_model(base, TINY, LABELS, 0)), logits(models.build_model(tiny_base, TINY, LABELS, 0))
    )
    folder = saved(tmp_path)
    fsspec.filesystem("memory").put(folder + "/", "/models/step", recursive=True)
    assert torch.equal(logits(models.load_model(f"{store}/step")), logits(tiny_model()))
    assert models.tokenizer(f"{store}/step").pad_token_id == 0
    assert models.prepare_base(ModelConfig(path=f"{store}/step"), shelf(), "unused") == f"{store}/step"


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_one_number_sets_every_dropout(family: Family, tmp_path: Path) -> None:
    tiny_model(family, dropout=0.3).save_pretrained(tmp_path)
    folder = str(tmp_path)

    def probabilities(dropout: float | None) -> set[float]:
        built = models.build_model(folder, ModelConfig(path=folder, dropout=dropout), ("a", "b"), seed=0)
        return {module.p for module in built.modules() if isinstance(module, torch.nn.Dropout)}

    assert probabilities(0.0) == {0.0}
    assert probabilities(0.2) == {0.2}
    assert 0.3 in probabilities(None)
