"""What is said, before any training, when a model folder is of no use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from raysample import models
from raysample.core.config import ModelConfig
from raysample.core.errors import ModelError
from raysample.testing import tiny_model, tiny_tokenizer
from tests.helpers.model_folders import saved, shelf


@pytest.mark.parametrize(
    ("missing", "advice"),
    [
        ("config.json", "a folder that save_pretrained wrote"),
        ("model.safetensors", "complete the folder"),
        ("tokenizer*", "tokenizer.save_pretrained"),
    ],
)
def test_incomplete_folders_are_found_before_anything_starts(missing: str, advice: str, tmp_path: Path) -> None:
    folder = saved(tmp_path)
    for path in tmp_path.glob(missing):
        path.unlink()
    with pytest.raises(ModelError, match=advice):
        models.prepare_base(ModelConfig(path=folder), shelf(), "unused")


@pytest.mark.parametrize("path", ["./nowhere", "/no/where/at/all", "models/of/mine", "~/raysample-has-no-such-folder"])
def test_missing_folder(path: str) -> None:
    with pytest.raises(ModelError, match=r"check model\.path"):
        models.prepare_base(ModelConfig(path=path), shelf(), "unused")


def test_unknown_hub_name_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="check the spelling; without network give a local folder"):
        models.prepare_base(ModelConfig(path="raysample-nobody/has-no-such-model"), shelf(), "unused")


def test_damaged_weights(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="the folder is damaged"):
        models.prepare_base(ModelConfig(path=folder), shelf(), "unused")
    with pytest.raises(ModelError, match="the folder is damaged"):
        models.load_model(folder)


def test_weights_of_another_model(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a")
    saved(tmp_path / "b", "roberta")
    shutil.copy(tmp_path / "b" / "model.safetensors", tmp_path / "a" / "model.safetensors")
    with pytest.raises(ModelError, match="are not of one model"):
        models.prepare_base(ModelConfig(path=folder), shelf(), "unused")


def test_one_lost_weight_is_noticed(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of .*layer\.1\.output\.dense\.weight"):
        models.prepare_base(ModelConfig(path=folder), shelf(), "unused")


def test_own_code_must_be_trusted(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    kinds = {name: f"mine.{name}" for name in ("AutoConfig", "AutoModelForSequenceClassification")}
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "mine", "auto_map": kinds}))
    with pytest.raises(ModelError, match=r"set model\.trust_remote_code: true"):
        models.prepare_base(ModelConfig(path=folder), shelf(), "unused")


def test_tokenizer_without_padding_is_refused(tmp_path: Path) -> None:
    words = tiny_tokenizer()
    words.pad_token = None
    models.save_model(tiny_model(), words, tmp_path)
    with pytest.raises(ModelError, match="set pad_token and save it"):
        models.prepare_base(ModelConfig(path=str(tmp_path)), shelf(), "unused")
