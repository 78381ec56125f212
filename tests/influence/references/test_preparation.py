"""What is built, what stays, and what is built again."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from raysample import models
from raysample.core.errors import ScoreError, StorageError
from raysample.data import checkpoint_set
from raysample.data.checkpoint_set import CheckpointSet
from raysample.influence.references import Request, load_reference, prepare_references
from raysample.influence.references.folder import REFERENCE_MANIFEST, located, read_tensors, step_file, write_tensors
from raysample.influence.scores.reference import Reference
from tests.helpers.reference_runs import changed, described, made_up

pytestmark = pytest.mark.slow

PRIORS = Reference.from_options("priors")
TARGET = Reference.from_options("target_gradient", target="held_out")
WANTED = [PRIORS, TARGET]


def folders(request: Request) -> set[str]:
    return {path.parent.name for path in Path(request.folder).glob(f"*/{REFERENCE_MANIFEST}")}


def written(request: Request) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in Path(request.folder).rglob("*") if path.is_file()}


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    return made_up(tmp_path)


def test_a_second_prepare_does_nothing(request_: Request) -> None:
    said: list[str] = []
    prepare_references(request_, [*WANTED, PRIORS], say=said.append)
    assert sum("preparing" in line for line in said) == 2
    before = written(request_)
    said.clear()
    prepare_references(request_, WANTED, say=said.append)
    assert written(request_) == before
    assert said == []


def test_nothing_wanted_nothing_opened(request_: Request) -> None:
    prepare_references(replace(request_, corpus="/nowhere"), [])
    assert not Path(request_.folder).exists()


def test_an_interrupted_build_is_done_again(request_: Request) -> None:
    prepare_references(request_, [TARGET])
    place, last = Path(located(request_, TARGET)), CheckpointSet.load(request_.checkpoints).checkpoints[-1]
    whole = load_reference(request_, [TARGET], last, "cpu").directions[TARGET.key]
    (place / REFERENCE_MANIFEST).unlink()
    Path(step_file(str(place), last.step)).write_bytes(b"half")
    prepare_references(request_, [TARGET])
    again = load_reference(request_, [TARGET], last, "cpu").directions[TARGET.key]
    assert all(torch.equal(again[name], values) for name, values in whole.items())
    assert folders(request_) == {place.name}


def test_another_content_is_another_folder(request_: Request, tmp_path: Path) -> None:
    prepare_references(request_, [TARGET])
    seen = folders(request_)
    place = Path(CheckpointSet.load(request_.checkpoints).checkpoints[-1].uri)
    network = models.load_model(str(place))
    torch.nn.init.zeros_(network.classifier.bias)
    models.save_model(network, models.tokenizer(str(place)), place)
    checkpoint_set.seal_checkpoint(place)
    others = [
        request_,
        replace(request_, targets={"held_out": described(tmp_path / "new", 9, seed=11).uri}),
        replace(request_, precision="bfloat16"),
        replace(request_, model=request_.model.model_copy(update={"max_length": 8})),
        replace(request_, corpus=described(tmp_path / "more", 61).uri),
    ]
    for other in others:
        prepare_references(other, [TARGET])
        assert len(folders(request_)) == len(seen) + 1
        assert Path(located(other, TARGET)).name in folders(request_) - seen
        seen = folders(request_)
    prepare_references(replace(request_, batch_tokens=32), [TARGET])
    assert folders(request_) == seen


def test_layout_and_order_of_the_files_do_not_matter(request_: Request, tmp_path: Path) -> None:
    prepare_references(request_, [TARGET])
    rows = described(tmp_path / "one file", 12, seed=7, files=1)
    prepare_references(replace(request_, targets={"held_out": rows.uri}), [TARGET])
    assert len(folders(request_)) == 1


def test_the_manifest_tells_what_it_is_made_of(request_: Request) -> None:
    prepare_references(request_, [TARGET])
    told = json.loads((Path(located(request_, TARGET)) / REFERENCE_MANIFEST).read_text())
    assert told["kind"] == "target_gradient"
    assert told["options"] == {"target": "held_out"}
    assert told["steps"] == [10, 20]
    assert told["notes"] == {"target_rows": 12}
    assert told["checkpoints"] == CheckpointSet.load(request_.checkpoints).fingerprint
    assert told["seconds"] > 0


def test_what_was_not_prepared_is_told(request_: Request) -> None:
    (first, _) = CheckpointSet.load(request_.checkpoints).checkpoints
    with pytest.raises(ScoreError, match=r"'priors' was not prepared(.|\n)*references\.prepare"):
        load_reference(request_, [PRIORS], first, "cpu")


def test_a_damaged_file_is_told(request_: Request) -> None:
    prepare_references(request_, [PRIORS])
    (first, _) = CheckpointSet.load(request_.checkpoints).checkpoints
    Path(step_file(located(request_, PRIORS), first.step)).write_bytes(b"damaged")
    with pytest.raises(StorageError, match=r"missing or damaged(.|\n)*delete its folder"):
        load_reference(request_, [PRIORS], first, "cpu")


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4).T, "b": torch.tensor([-torch.inf, torch.nan]), "c": torch.tensor([2**62])}
    uri = str(tmp_path / "x.safetensors")
    write_tensors(uri, tensors)
    for found in (read_tensors(uri, "cpu"), load_file(uri)):
        assert all(torch.allclose(found[name], value, rtol=0, equal_nan=True) for name, value in tensors.items())


def test_a_request_is_small_and_pickles(request_: Request) -> None:
    data = pickle.dumps(request_)
    assert len(data) < 2_000
    assert pickle.loads(data) == request_


def test_a_wrong_target_is_told_before_anything_is_built(request_: Request) -> None:
    wrong = Reference.from_options("target_gradient", target="elsewhere")
    with pytest.raises(ScoreError, match="no target 'elsewhere'"):
        prepare_references(request_, [PRIORS, wrong])
    assert folders(request_) == set()


def test_a_changed_recipe_is_another_folder(request_: Request) -> None:
    prepare_references(request_, [PRIORS])
    changed(request_, config={"family": "bert", "fine_tune": {}})
    prepare_references(request_, [PRIORS])
    assert len(folders(request_)) == 2
