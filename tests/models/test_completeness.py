"""Weights that are in no file are never drawn, of whole checkpoints and of adapters; NaN and inf are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel

from raysample import models
from raysample.core.errors import ModelError
from raysample.models import adapters
from raysample.models.completeness import check_finite
from raysample.testing import Family, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # get_peft_model
TARGETS = {"bert": ["query", "value"], "deberta-v2": ["query_proj"], "gpt2": ["c_attn"], "llama": ["q_proj"]}


def whole(folder: Path, family: Family = "bert") -> str:
    models.save_model(tiny_model(family), tiny_tokenizer(family), folder)
    return str(folder)


def without(folder: str, *parts: str, name: str = "model.safetensors") -> str:
    """Take weights out of a folder's file."""
    path = Path(folder) / name
    kept = {key: value for key, value in load_file(path).items() if not any(part in key for part in parts)}
    save_file(kept, path, {"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("family", "part", "named"),
    [
        ("bert", "classifier", "classifier.weight"),
        ("bert", "pooler", "bert.pooler.dense.weight"),
        ("gpt2", "h.1.mlp.c_fc.bias", "transformer.h.1.mlp.c_fc.bias"),
        ("llama", "score", "score.weight"),
    ],
)
def test_whole_checkpoints_lack_nothing(tmp_path: Path, family: Family, part: str, named: str) -> None:
    place = whole(tmp_path / "whole", family)
    models.load_model(place)
    with pytest.raises(ModelError, match="save it again with save_pretrained") as caught:
        models.load_model(without(place, part))
    assert repr(named) in caught.value.problem


def test_tied_weights_need_to_be_in_a_file_only_once(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    shape = AutoConfig.for_model(
        "bart",
        **{"vocab_size": 100, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 64},
        **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32},
    )
    network = AutoModelForSequenceClassification.from_config(shape)
    network.save_pretrained(tmp_path)
    again = models.load_model(str(tmp_path))
    assert all(torch.equal(weight, again.state_dict()[key]) for key, weight in network.state_dict().items())
    stored = load_file(tmp_path / "model.safetensors")
    shared = [key for key in stored if key.endswith(("shared.weight", "embed_tokens.weight"))]
    assert len(shared) == 1
    with pytest.raises(ModelError, match="no file holds them"):
        models.load_model(without(str(tmp_path), *shared))


def base(folder: Path, family: Family, classifier: bool) -> str:
    """Save an encoder alone, or with a classifier."""
    network: Any = tiny_model(family)
    if classifier:
        network.save_pretrained(folder)
    else:
        AutoModel.from_config(network.config).save_pretrained(folder)
    tiny_tokenizer(family).save_pretrained(folder)
    return str(folder)


def adapted(place: str, target: Path, config: Any) -> str:
    import peft

    from raysample.models.folders import silence_transformers

    with silence_transformers():
        network = adapters.AutoModelForSequenceClassification.from_pretrained(place, num_labels=3)
        made = peft.get_peft_model(network, config)
    made.save_pretrained(target)
    return str(target)


def lora(family: Family, **options: Any) -> Any:
    import peft

    options |= {"target_modules": TARGETS[family], "fan_in_fan_out": family == "gpt2"}
    return peft.LoraConfig(task_type="SEQ_CLS", r=2, **options)


@pytest.mark.parametrize("family", ["bert", "deberta-v2", "gpt2", "llama"])
def test_adapters_that_bring_what_the_base_lacks_are_loaded_alike(tmp_path: Path, family: Family) -> None:
    place = base(tmp_path / "base", family, classifier=False)
    more = {"modules_to_save": ["pooler", "classifier"]} if family == "deberta-v2" else {}
    found = adapted(place, tmp_path / "adapters", lora(family, **more))
    torch.manual_seed(1)
    one = models.load_model(found).state_dict()
    torch.manual_seed(2)
    other = models.load_model(found).state_dict()
    # peft keeps the base's module beside the one that replaces it, and never calls it.
    assert all(torch.equal(weight, other[key]) for key, weight in one.items() if "original_module" not in key)


def test_lora_over_a_base_without_pooler_is_refused_by_name(tmp_path: Path) -> None:
    place = base(tmp_path / "base", "deberta-v2", classifier=False)
    found = adapted(place, tmp_path / "adapters", lora("deberta-v2"))
    with pytest.raises(ModelError, match="modules_to_save") as caught:
        models.load_model(found)
    assert "'pooler.dense.weight'" in caught.value.problem


def test_lora_that_lost_its_classifier_or_a_matrix_is_refused(tmp_path: Path) -> None:
    place = base(tmp_path / "base", "bert", classifier=False)
    for part, advice in (("classifier", "SEQ_CLS"), ("layer.1.attention.self.query.lora_A", "modules_to_save")):
        found = adapted(place, tmp_path / part, lora("bert"))
        with pytest.raises(ModelError, match=advice):
            models.load_model(without(found, part, name=adapters.ADAPTER_WEIGHTS))


def test_a_module_that_was_to_be_saved_and_is_not_is_refused(tmp_path: Path) -> None:
    place = base(tmp_path / "base", "deberta-v2", classifier=False)
    found = adapted(place, tmp_path / "adapters", lora("deberta-v2", modules_to_save=["pooler", "classifier"]))
    with pytest.raises(ModelError, match=r"pooler\.dense"):
        models.load_model(without(found, "pooler", name=adapters.ADAPTER_WEIGHTS))


def test_ia3_is_held_to_the_same(tmp_path: Path) -> None:
    import peft

    def config() -> Any:
        return peft.IA3Config(task_type="SEQ_CLS", target_modules=["key", "value"], feedforward_modules=[])

    whole_base = base(tmp_path / "whole", "bert", classifier=True)
    assert models.load_model(adapted(whole_base, tmp_path / "good", config()))
    found = adapted(whole_base, tmp_path / "bad", config())
    with pytest.raises(ModelError, match="ia3_l"):
        models.load_model(without(found, "layer.0.attention.self.key", name=adapters.ADAPTER_WEIGHTS))
    masked = base(tmp_path / "masked", "bert", classifier=True)
    without(masked, "pooler")
    with pytest.raises(ModelError, match=r"bert\.pooler\.dense\.weight"):
        models.load_model(adapted(masked, tmp_path / "pooler", config()))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path: Path, value: float) -> None:
    place = whole(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    stored["bert.encoder.layer.1.output.dense.weight"][0, 0] = value
    save_file(stored, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="its training diverged") as caught:
        models.load_model(place)
    assert "bert.encoder.layer.1.output.dense.weight" in caught.value.problem


def test_rows_of_a_table_may_be_no_numbers(tmp_path: Path) -> None:
    place, key = whole(tmp_path), "bert.embeddings.word_embeddings.weight"
    stored = load_file(tmp_path / "model.safetensors")
    stored[key][7] = float("nan")
    save_file(stored, tmp_path / "model.safetensors", {"format": "pt"})
    assert models.load_model(place)
    stored[key][:] = float("nan")
    save_file(stored, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="its training diverged"):
        models.load_model(place)


@pytest.mark.parametrize("shape", [(), (4,), (3, 4)])
def test_what_a_table_holds_beside_its_rows_must_be_numbers(shape: tuple[int, ...]) -> None:
    table = nn.Embedding(6, 4)
    table.beside = nn.Parameter(torch.zeros(shape))
    check_finite(nn.Sequential(table), "a/model")
    with torch.no_grad():
        table.weight[2] = float("nan")
    check_finite(nn.Sequential(table), "a/model")
    with torch.no_grad():
        table.beside.view(-1)[0] = float("nan")
    with pytest.raises(ModelError, match=r"the weight '0\.beside' has values that are not finite"):
        check_finite(nn.Sequential(table), "a/model")


def test_a_base_that_is_fine_tuned_gets_a_fresh_head_and_nothing_else(tmp_path: Path) -> None:
    from raysample.core.config import ModelConfig

    place = whole(tmp_path)
    spec = ModelConfig(path=place, max_length=16)
    assert models.build_model(without(place, "classifier", "pooler"), spec, ("a", "b"), seed=0)
    with pytest.raises(ModelError, match="no file holds them"):
        models.build_model(without(place, "layer.1.output"), spec, ("a", "b"), seed=0)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "bert"
