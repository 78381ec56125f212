"""Folders that `save_pretrained` wrote, folders of them, and CheckpointSets, as CheckpointSets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import raysample
from raysample import models, testing
from raysample.core.errors import CheckpointError
from raysample.data import checkpoint_set
from raysample.data.checkpoint_set import COMPLETE, CheckpointSet
from raysample.data.corpus import Corpus
from raysample.models.weights import shapes
from raysample.testing import LABELS
from tests.helpers.corpora import tiny_corpus

pytestmark = pytest.mark.slow

SCORES = ["vog", {"name": "el2n", "checkpoints": "all"}, {"name": "grand", "checkpoints": "last"}]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> CheckpointSet:
    return testing.tiny_checkpoints(tmp_path_factory.mktemp("ours"), 4)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("rows"), 16, 5, files=1)


def foreign(ours: CheckpointSet, folder: Path, stem: str) -> Path:
    """Copy checkpoints as another program might have saved them: without seals, steps in their names."""
    for checkpoint in ours.checkpoints:
        target = folder / f"{stem}{checkpoint.step // 5}"  # 2, 4, 6, 8
        shutil.copytree(checkpoint.uri, target)
        (target / COMPLETE).unlink()
    return folder


@pytest.mark.parametrize("stem", ["checkpoint-", "epoch_", ""])
def test_an_adopted_copy_scores_as_the_original(ours: CheckpointSet, corpus: Corpus, tmp_path: Path, stem: str) -> None:
    folder = foreign(ours, tmp_path / "run", stem)
    (folder / f"{stem}8").rename(folder / f"{stem}10")
    (folder / "logs").mkdir()
    trace = raysample.adopt(str(folder), labels=LABELS)
    assert [c.step for c in trace.checkpoints] == [2, 4, 6, 10]
    assert [c.epoch for c in trace.checkpoints] == [1, 2, 3, 4]
    assert (trace.config["epochs"], trace.config["learning_rates"]) == ("assumed", ["not logged"] * 4)
    known = raysample.score(ours, corpus, SCORES, max_length=32).to_pandas()
    assert raysample.score(trace, corpus, SCORES, max_length=32).to_pandas().equals(known)


def test_folders_without_numbers_keep_the_order_that_is_given(ours: CheckpointSet, tmp_path: Path) -> None:
    folder = foreign(ours, tmp_path, "epoch_")
    names = ["late", "early", "best"]
    for number, name in zip((2, 4, 6), names, strict=True):
        (folder / f"epoch_{number}").rename(folder / name)
    trace = raysample.adopt([str(folder / name) for name in names], labels=LABELS)
    assert [(c.step, Path(c.uri).name) for c in trace.checkpoints] == [(1, "late"), (2, "early"), (3, "best")]
    mixed = raysample.adopt([str(folder / "epoch_8"), str(folder / "best")], labels=LABELS)
    assert [c.step for c in mixed.checkpoints] == [1, 2]


def test_a_set_is_adopted_with_what_it_knows(ours: CheckpointSet, corpus: Corpus, tmp_path: Path) -> None:
    trace = raysample.adopt(ours.uri, str(tmp_path / "set"))
    assert [(c.uri, c.step, c.epoch, c.learning_rate) for c in trace.checkpoints] == [
        (c.uri, c.step, c.epoch, c.learning_rate) for c in ours.checkpoints
    ]
    assert trace.labels == ours.labels
    known = raysample.score(ours, corpus, ["tracin_self"], max_length=32).to_pandas()
    assert raysample.score(trace, corpus, ["tracin_self"], max_length=32).to_pandas().equals(known)
    again = raysample.adopt(trace.uri, str(tmp_path / "again"))
    assert again.fingerprint == trace.fingerprint
    assert [c.files for c in again.checkpoints] == [c.files for c in trace.checkpoints]


def test_pickled_weights_count_where_they_are_nothing_else(ours: CheckpointSet, corpus: Corpus, tmp_path: Path) -> None:
    folder = foreign(ours, tmp_path, "checkpoint-")
    known = raysample.score(ours, corpus, ["vog"], max_length=32).to_pandas()
    for place in folder.glob("checkpoint-*"):
        saved = shapes(str(place))
        torch.save(models.load_model(str(place)).state_dict(), place / "pytorch_model.bin")
        (place / "model.safetensors").unlink()
        assert shapes(str(place)) == saved
    trace = raysample.adopt(str(folder), labels=LABELS)
    assert "pytorch_model.bin" in trace.checkpoints[0].files
    assert raysample.score(trace, corpus, ["vog"], max_length=32).to_pandas().equals(known)
    cut = folder / "checkpoint-4" / "pytorch_model.bin"
    cut.write_bytes(cut.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"checkpoint-4/pytorch_model.bin' is cut off"):
        raysample.adopt(str(folder), labels=LABELS)


def test_weights_in_pieces_are_all_asked_for(tmp_path: Path) -> None:
    network = testing.tiny_model()
    network.save_pretrained(tmp_path / "whole")
    network.save_pretrained(tmp_path / "pieces", max_shard_size="5kB")
    pieces = sorted((tmp_path / "pieces").glob("model-*.safetensors"))
    assert len(pieces) > 1
    assert shapes(str(tmp_path / "pieces")) == shapes(str(tmp_path / "whole"))
    testing.tiny_tokenizer().save_pretrained(tmp_path / "pieces")
    pieces[0].unlink()
    with pytest.raises(CheckpointError, match=rf"lacks '{pieces[0].name}', which its index names"):
        raysample.adopt(str(tmp_path / "pieces"))
    (tmp_path / "pieces" / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"model.safetensors.index.json' is damaged"):
        raysample.adopt(str(tmp_path / "pieces"))


def test_what_is_no_checkpoint_is_told(ours: CheckpointSet, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint folders were given"):
        raysample.adopt([])
    with pytest.raises(CheckpointError, match="there is no folder"):
        raysample.adopt(str(tmp_path / "nowhere"))
    with pytest.raises(CheckpointError, match=r"holds neither checkpoint-\* nor other model folders"):
        raysample.adopt(str(tmp_path))
    with pytest.raises(CheckpointError, match=r"an address of MLflow's(.|\n)*raysample adopt runs:/ab --output"):
        raysample.adopt("runs:/ab")
    (tmp_path / "MLmodel").write_text("flavors: {pytorch: {}}")
    (tmp_path / "data").mkdir()
    with pytest.raises(CheckpointError, match=r"such as a pickle, which is not opened(.|\n)*mlflow.transformers"):
        raysample.adopt(str(tmp_path))


def test_a_tokenizer_that_does_not_pad_is_told(ours: CheckpointSet, tmp_path: Path) -> None:
    place = tmp_path / "model"
    testing.tiny_model().save_pretrained(place)
    words = testing.tiny_tokenizer()
    words.pad_token = None
    words.save_pretrained(place)
    with pytest.raises(CheckpointError, match="has no padding token"):
        raysample.adopt(str(place))
    (place / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="the tokenizer cannot be loaded"):
        raysample.adopt(str(place))


def test_the_base_of_adapters_is_watched_with_them(ours: CheckpointSet, tmp_path: Path) -> None:
    base = Path(shutil.copytree(ours.checkpoints[0].uri, tmp_path / "base"))
    for step in (1, 2):
        place = tmp_path / f"adapters-{step}"
        place.mkdir()
        (place / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
        save_file({"base_model.model.classifier.weight": torch.zeros(3, 16)}, place / "adapter_model.safetensors")
    places = [str(tmp_path / f"adapters-{step}") for step in (1, 2)]
    with pytest.raises(CheckpointError, match=r"holds adapters, which do not tell the names(.|\n)*labels=\[...\]"):
        raysample.adopt(places)
    with pytest.raises(CheckpointError, match=r"2 class names(.|\n)*for the 3 outputs"):
        raysample.adopt(places, labels=LABELS[:2])
    trace = raysample.adopt(places, labels=LABELS)
    assert [c.step for c in trace.checkpoints] == [1, 2]
    checkpoint_set.verify_checkpoint(places[0], trace.checkpoints[0].files)
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CheckpointError, match=r"base/model.safetensors' is missing or damaged"):
        checkpoint_set.verify_checkpoint(places[0], trace.checkpoints[0].files)
