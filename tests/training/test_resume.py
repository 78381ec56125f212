"""A run that was ended and went on is the run that was never ended."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
import torch

from raysample.core.errors import StorageError, TrainingError
from raysample.core.storage import whole_folders
from raysample.data.checkpoint_set import CheckpointSet
from raysample.training.fine_tuning import clear, execute
from raysample.training.states import STATES_FOLDER
from tests.helpers.training_runs import a_job, curve, ended_after, in_folder, run, written


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a job and its run from the first step to the last: 18 steps, states after every third."""
    job = a_job(tmp_path_factory.mktemp("whole"))
    return job, run(job)


def same(job: Any, other: Any) -> None:
    assert curve(job).equals(curve(other))
    assert written(job) == written(other)


@pytest.mark.parametrize("ends", [(1,), (3,), (4,), (9,), (17,), (18,), (2, 5, 5, 13)])
def test_a_run_goes_on_bit_for_bit_wherever_it_was_ended(ends: tuple[int, ...], whole: Any, tmp_path: Path) -> None:
    job, trace = whole
    again = in_folder(job, tmp_path / "run")
    ended_after(again, *ends)
    torch.manual_seed(99)  # what other programs drew has no part in it
    found = run(again)
    same(again, job)
    assert found.fingerprint == trace.fingerprint
    assert found.metrics == trace.metrics


@pytest.mark.parametrize(
    "recipe",
    [
        {"schedule": "cosine", "micro_batch_size": 3, "layer_decay": 0.8, "label_smoothing": 0.1},
        {"group_by_length": True, "class_weights": "balanced", "early_checkpoints": 3},
        {"precision": "float16"},
        {"precision": "bfloat16"},
        {"capture": True, "weight_decay": 0.0},
        {"early_stopping": {"holdout": 0.3, "patience": 1, "metric": "accuracy", "min_delta": 1.0}, "epochs": 3},
    ],
    ids=lambda recipe: "-".join(recipe),
)
def test_every_kind_of_training_goes_on_as_it_was(recipe: dict[str, Any], tmp_path: Path) -> None:
    job = a_job(tmp_path, **recipe)
    run(job)
    again = in_folder(job, tmp_path / "again")
    ended_after(again, 5, 11)
    run(again)
    same(again, job)


def test_what_was_saved_serves_until_the_run_is_finished(whole: Any, tmp_path: Path) -> None:
    job = in_folder(whole[0], tmp_path / "run")
    ended_after(job, 14)
    states = tmp_path / "run" / STATES_FOLDER
    assert sorted(p.name for p in states.glob("step-*")) == ["step-000000009", "step-000000012"]
    outcome = execute(job)
    assert outcome.starts == ((0, 1), (12, 1))
    assert outcome.notes == ()
    run(job)
    assert not states.exists()


def test_a_damaged_state_is_named_and_an_older_one_serves(whole: Any, tmp_path: Path) -> None:
    job = in_folder(whole[0], tmp_path / "run")
    ended_after(job, 14)
    damaged = tmp_path / "run" / STATES_FOLDER / "step-000000012" / "state.safetensors"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    outcome = execute(job)
    assert [start[0] for start in outcome.starts] == [0, 9]
    assert len(outcome.notes) == 1
    assert "step-000000012/state.safetensors' is missing or damaged" in outcome.notes[0]
    same(job, whole[0])


def test_drafts_of_killed_writers_are_no_states_and_do_not_stay(whole: Any, tmp_path: Path) -> None:
    job, other = in_folder(whole[0], tmp_path / "run"), in_folder(whole[0], tmp_path / "other")
    ended_after(other, 4)
    ended_after(job, 2)
    shutil.copytree(
        tmp_path / "other" / STATES_FOLDER / "step-000000003",
        tmp_path / "run" / STATES_FOLDER / ".step-000000003.tmp-1",
    )
    (tmp_path / "run" / ".step-000004.tmp-2").mkdir()
    outcome = execute(job)
    assert [start[0] for start in outcome.starts] == [0, 0]
    assert outcome.notes == ()
    assert list((tmp_path / "run").rglob(".step-*")) == []
    same(job, whole[0])


def test_a_damaged_checkpoint_is_named_and_written_again(whole: Any, tmp_path: Path) -> None:
    """The state after twelve steps does not count without the checkpoint of the ninth: nobody else could make it."""
    job = in_folder(whole[0], tmp_path / "run")
    ended_after(job, 14)
    (tmp_path / "run" / "step-000009" / "model.safetensors").unlink()
    outcome = execute(job)
    assert [start[0] for start in outcome.starts] == [0, 0]
    assert "step-000009/model.safetensors' is missing or damaged" in outcome.notes[0]
    same(job, whole[0])


def test_another_recipe_does_not_go_on_from_this_ones_state(whole: Any, tmp_path: Path) -> None:
    job = in_folder(whole[0], tmp_path / "run")
    ended_after(job, 14)
    other = a_job(tmp_path / "other", learning_rate=1e-3)
    there = in_folder(other, tmp_path / "run")
    run(there)
    run(other)
    assert curve(there).equals(curve(other))
    ended_after(in_folder(job, tmp_path / "two"), 14)
    clear(in_folder(other, tmp_path / "two"))
    assert not (tmp_path / "two").exists()
    ended_after(in_folder(job, tmp_path / "two"), 14)
    clear(in_folder(job, tmp_path / "two"))
    assert (tmp_path / "two" / STATES_FOLDER).exists()


def test_a_run_that_always_ends_at_one_place_is_given_up(whole: Any, tmp_path: Path) -> None:
    job = in_folder(whole[0], tmp_path / "run")
    ended_after(job, 4)

    def stop(step: int, of: int, loss: float) -> None:
        raise KeyboardInterrupt

    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            execute(job, attempt="one", progress=stop)
    with pytest.raises(TrainingError, match="ended 4 times between step 3 and the next state"):
        execute(job, attempt="one")
    # Who starts it anew, having mended the cause, is not refused.
    assert execute(job, attempt="two").steps == 18


def test_storage_that_stumbles_is_asked_again(whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, tries = in_folder(whole[0], tmp_path / "run"), list[str]()
    real = whole_folders._rename

    def stumbling(draft: Path, path: Path) -> None:
        tries.append(path.name)
        if tries.count(path.name) <= 2:
            raise OSError(errno.EIO, "the server did not answer")
        real(draft, path)

    monkeypatch.setattr(whole_folders, "_rename", stumbling)
    monkeypatch.setattr(whole_folders, "WAITS", (0.0, 0.0, 0.0))
    run(job)
    same(job, whole[0])
    assert tries.count("step-000009") == 3


def test_a_full_disk_is_told_and_not_waited_for(whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, tries = in_folder(whole[0], tmp_path / "run"), list[int]()

    def full(draft: Path, path: Path) -> None:
        tries.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(whole_folders, "_rename", full)
    with pytest.raises(StorageError, match=r"(?s)cannot write the folder .*No space left.*check that the place"):
        execute(job)
    assert len(tries) == 1
    assert list((tmp_path / "run").glob(".*")) == [], "drafts of what could not be written stay"


def test_the_curve_tells_every_step(whole: Any) -> None:
    table = curve(whole[0])
    assert table["step"].to_pylist() == list(range(1, 19))
    assert table["epoch"].to_pylist()[8] == 1.0
    assert pc.max(table["learning_rate"]).as_py() == pytest.approx(5e-3)
    assert pc.min(table["gradient_norm"]).as_py() > 0


def test_a_finished_run_tells_how_often_it_began(whole: Any) -> None:
    job, trace = whole
    assert CheckpointSet.load(job.folder).fingerprint == trace.fingerprint
    told = json.loads(Path(job.folder, "evaluation.json").read_text())
    assert told["starts"] == [[0, 1]]


def test_float16_on_this_machine_is_float16(tmp_path: Path) -> None:
    """Where it is not computed in half precision, the tests above would say nothing about it."""
    job = a_job(tmp_path, precision="float16", epochs=1)
    run(job)
    halves = curve(job)["loss"].to_pylist()
    plain = in_folder(a_job(tmp_path / "plain", epochs=1), tmp_path / "plain" / "run")
    run(plain)
    assert halves != curve(plain)["loss"].to_pylist()
    assert halves == pytest.approx(curve(plain)["loss"].to_pylist(), rel=2e-2)
