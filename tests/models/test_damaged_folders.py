"""Folders of models with damaged files: each is an error of ours that says what is wrong, before anything is made."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import raysample
from raysample import models
from raysample.core import storage
from raysample.core.errors import RaysampleError
from raysample.testing import tiny_checkpoints


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return Path(tiny_checkpoints(tmp_path / "made", n=1).checkpoints[0].uri)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"id2label": {"x": "y"}}'])
def test_a_damaged_config_is_named(saved: Path, tmp_path: Path, data: bytes) -> None:
    (saved / "COMPLETE.json").unlink()
    (saved / "config.json").write_bytes(data)
    with pytest.raises(RaysampleError, match=r"config\.json"):
        raysample.adopt([str(saved)], str(tmp_path / "adopted"))


@pytest.mark.parametrize("data", [b"", b"[]", b'{"version": "1.0", "added_tokens": [{"id": -1}]}', b"\xff", b"null"])
def test_a_damaged_tokenizer_is_an_error_of_ours(saved: Path, data: bytes) -> None:
    (saved / "tokenizer.json").write_bytes(data)
    with pytest.raises(RaysampleError, match="cannot load the model") as caught:
        models.tokenizer(str(saved))
    assert str(saved) in caught.value.problem


@pytest.mark.parametrize("key", ["hidden_size", "vocab_size", "num_hidden_layers", "intermediate_size"])
def test_sizes_that_no_file_holds_are_refused_before_they_are_allocated(saved: Path, key: str) -> None:
    config = saved / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), key: 10**12}))
    with pytest.raises(RaysampleError, match=rf"config\.json' says {key}: 1e\+12"):
        models.load_model(str(saved))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_pipe_in_a_model_folder_is_never_waited_for(saved: Path, name: str) -> None:
    (saved / name).unlink()
    os.mkfifo(saved / name)
    for read in (models.load_model, models.tokenizer):
        with pytest.raises(RaysampleError, match=name.replace(".", "[.]")):
            read(str(saved))


def test_what_a_trainer_logged_may_hold_nan_and_nothing_else_odd(saved: Path, tmp_path: Path) -> None:
    (saved / "COMPLETE.json").unlink()
    place = saved.rename(tmp_path / "checkpoint-10")
    state = place / "trainer_state.json"
    logged = '{"global_step": 10, "epoch": 1.0, "log_history": [{"step": 10, "loss": NaN, "learning_rate": 0.1}]}'
    state.write_text(logged)
    assert raysample.adopt([str(place)], str(tmp_path / "adopted")).checkpoints[0].learning_rate == 0.1
    for bad in ("[]", logged.replace("0.1", '"much"'), logged.replace("[{", "[3, {"), logged.replace("10,", '"x",')):
        state.write_text(bad)
        with pytest.raises(RaysampleError, match=r"trainer_state\.json' is damaged"):
            raysample.adopt([str(place)], str(tmp_path / "other"))
    assert storage.exists(str(tmp_path / "adopted"))


@pytest.mark.parametrize(("old", "new"), [('"epoch": 1.0', '"epoch": 1e999'), ('"epoch": 1.0', '"epoch": NaN')])
def test_an_epoch_that_is_not_finite_is_told(old: str, new: str, saved: Path, tmp_path: Path) -> None:
    (saved / "COMPLETE.json").unlink()
    place = saved.rename(tmp_path / "checkpoint-10")
    logged = '{"global_step": 10, "epoch": 1.0, "log_history": [{"step": 10, "loss": 1.0, "learning_rate": 0.1}]}'
    (place / "trainer_state.json").write_text(logged.replace(old, new))
    with pytest.raises(RaysampleError, match="must be finite"):
        raysample.adopt([str(place)], str(tmp_path / "adopted"))


def test_an_endless_learning_rate_is_told(saved: Path, tmp_path: Path) -> None:
    (saved / "COMPLETE.json").unlink()
    place = saved.rename(tmp_path / "checkpoint-10")
    logged = '{"global_step": 10, "epoch": 1.0, "log_history": [{"step": 10, "loss": 1.0, "learning_rate": 1e999}]}'
    (place / "trainer_state.json").write_text(logged)
    with pytest.raises(RaysampleError, match="must be finite"):
        raysample.adopt([str(place)], str(tmp_path / "adopted"))
