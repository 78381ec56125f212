"""Runs of the Hugging Face Trainer as CheckpointSets: order, steps, epochs, rates, classes, scores, and safety."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import raysample
from raysample import testing
from raysample.core import storage
from raysample.core.errors import CheckpointError, CorpusError
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.training.importing import Schedule
from tests.helpers import trainer_runs
from tests.helpers.corpora import tiny_corpus
from tests.helpers.trainer_runs import NAMES, RATE, STEPS

pytestmark = pytest.mark.slow

SAVED = (3, 6, 9, 12)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trainer_runs.trained(tmp_path_factory.mktemp("run") / "out")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("rows"), 20, 5, files=1, labels=NAMES)


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return trainer_runs.copied(run, tmp_path / "copy")


def listing(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_run_comes_in_the_order_of_its_steps_with_epochs_and_rates(run: Path, tmp_path: Path) -> None:
    before = listing(run)
    trace = raysample.adopt(str(run), str(tmp_path / "set"))
    assert [Path(c.uri).name for c in trace.checkpoints] == [f"checkpoint-{step}" for step in SAVED]
    assert [c.step for c in trace.checkpoints] == list(SAVED)
    assert [c.epoch for c in trace.checkpoints] == pytest.approx([step / 6 for step in SAVED])
    # Linear from the first step on: step s is made with the rate of s - 1 steps done. Steps 3 and 9 were not logged.
    assert [c.learning_rate for c in trace.checkpoints] == pytest.approx([RATE * (1 - (s - 1) / STEPS) for s in SAVED])
    assert trace.config["learning_rates"] == [
        "on the line between steps 2 and 4",
        "",
        "on the line between steps 8 and 10",
        "",
    ]
    assert trace.labels == NAMES
    assert trace.config["epochs"] == "told"
    assert listing(run) == before
    again = CheckpointSet.load(trace.uri)
    assert (again.checkpoints, again.fingerprint) == (trace.checkpoints, trace.fingerprint)


def test_single_checkpoints_come_by_their_steps_in_whatever_order_they_are_given(run: Path) -> None:
    given = sorted(str(run / f"checkpoint-{step}") for step in SAVED)
    assert given[0].endswith("checkpoint-12")
    assert [c.step for c in raysample.adopt(given).checkpoints] == list(SAVED)
    one = raysample.adopt(given[0]).checkpoints
    assert [(c.step, c.epoch) for c in one] == [(12, 2.0)]
    with pytest.raises(CheckpointError, match="are both of step 12"):
        raysample.adopt([given[0], given[0]])


def test_an_adopted_run_scores_as_transformers_alone_says(run: Path, corpus: Corpus) -> None:
    trace = raysample.adopt(str(run))
    scores = [{"name": "el2n", "checkpoints": "all"}, "tracin_self", "vog"]
    found = raysample.score(trace, corpus, scores, max_length=32).to_pandas().set_index("row_id")
    table = corpus.table().to_pandas().set_index("row_id").loc[found.index]
    classes = [NAMES[label] for label in table["label"]]
    by_hand = trainer_runs.el2n([c.uri for c in trace.checkpoints], table["text"].tolist(), classes)
    assert found["el2n"].to_numpy() == pytest.approx(by_hand, rel=1e-4)
    assert list(found["class"]) == classes
    # TracIn weighs by the rates that the Trainer logged: with other ones it is another score.
    halves = raysample.adopt(str(run), learning_rates=[c.learning_rate / 2 for c in trace.checkpoints])
    half = raysample.score(halves, corpus, ["tracin_self"], max_length=32).to_pandas().set_index("row_id")
    assert half["tracin_self"].to_numpy() == pytest.approx(found["tracin_self"].to_numpy() / 2, rel=1e-4)


def test_no_pickle_of_a_run_is_opened(copy: Path, corpus: Corpus, tmp_path: Path) -> None:
    mark, names = tmp_path / "opened", ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth")
    for folder in copy.glob("checkpoint-*"):
        assert all((folder / name).exists() for name in names)
        for name in names:
            trainer_runs.bomb(folder / name, mark)
    raysample.score(str(copy), corpus, ["vog", {"name": "el2n", "checkpoints": "all"}], max_length=32)
    assert not mark.exists()
    for folder in copy.glob("checkpoint-*"):
        (folder / "model.safetensors").unlink()
        trainer_runs.bomb(folder / "pytorch_model.bin", mark)
    with pytest.raises(CheckpointError, match=r"4 of 4(.|\n)*a pickle of more than weights, which is not opened"):
        raysample.adopt(str(copy))
    assert not mark.exists()


def test_damage_after_the_adoption_is_found_and_named(copy: Path, corpus: Corpus, tmp_path: Path) -> None:
    trace = raysample.adopt(str(copy), str(tmp_path / "set"))
    (copy / "checkpoint-6" / "optimizer.pt").write_bytes(b"")  # nobody loads it
    weights = copy / "checkpoint-9" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(
        CheckpointError, match=r"checkpoint-9/model.safetensors' is missing or damaged(.|\n)*when it was"
    ):
        raysample.score(CheckpointSet.load(trace.uri), corpus, ["el2n"])
    weights.write_bytes(whole)
    other = copy / "checkpoint-3" / "adapter_model.safetensors"
    shutil.copyfile(weights, other)
    with pytest.raises(CheckpointError, match=r"adopted without 'adapter_model.safetensors', which lies there now"):
        raysample.score(CheckpointSet.load(trace.uri), corpus, ["el2n"])
    other.unlink()
    assert (
        raysample.score(CheckpointSet.load(trace.uri), corpus, [{"name": "el2n", "checkpoints": "all"}]).counts[
            "scored"
        ]
        == 20
    )


def test_checkpoints_that_are_not_whole_are_named(copy: Path, corpus: Corpus) -> None:
    third, sixth = copy / "checkpoint-3", copy / "checkpoint-6"
    whole = (third / "model.safetensors").read_bytes()
    (third / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    (sixth / "config.json").write_text("{")
    with pytest.raises(
        CheckpointError, match=r"2 of 4 (.|\n)*checkpoint-3(.|\n)*cut off(.|\n)*checkpoint-6(.|\n)*damaged"
    ):
        raysample.adopt(str(copy))
    (third / "model.safetensors").unlink()
    shutil.rmtree(sixth)
    with pytest.raises(CheckpointError, match=r"1 of 3 (.|\n)*checkpoint-3' holds no weights"):
        raysample.score(str(copy), corpus, ["el2n"])
    (third / "model.safetensors").write_bytes(whole)
    (third / "trainer_state.json").unlink()
    with pytest.raises(CheckpointError, match=r"checkpoint-3' has no trainer_state.json, which a Trainer writes last"):
        raysample.adopt(str(copy))
    (third / "trainer_state.json").write_text('{"global_step": 3')
    with pytest.raises(CheckpointError, match=r"checkpoint-3/trainer_state.json' is damaged"):
        raysample.adopt(str(copy))
    (third / "trainer_state.json").write_text('{"global_step": 4}')
    with pytest.raises(CheckpointError, match=r"checkpoint-3' was taken at step 4(.|\n)*its name back"):
        raysample.adopt(str(copy))


def test_checkpoints_of_two_trainings_are_not_one_run(copy: Path) -> None:
    state = copy / "checkpoint-6" / "trainer_state.json"
    told = json.loads(state.read_text())
    told["log_history"][0]["loss"] += 0.5
    state.write_text(json.dumps(told))
    with pytest.raises(CheckpointError, match=r"checkpoint-6' and \S*checkpoint-12' are of two trainings"):
        raysample.adopt(str(copy))
    raysample.adopt([str(copy / f"checkpoint-{step}") for step in (3, 9, 12)])


def test_models_that_differ_are_not_one_run(copy: Path) -> None:
    other = testing.tiny_model(layers=1)
    other.config.id2label = dict(enumerate(NAMES))
    other.save_pretrained(copy / "checkpoint-9")
    with pytest.raises(CheckpointError, match=r"different weights: bert.encoder.layer.1\S* is .* and lacking"):
        raysample.adopt(str(copy))
    config = copy / "checkpoint-12" / "config.json"
    told = {**json.loads(config.read_text()), "id2label": {"0": "yes", "1": "no"}}
    config.write_text(json.dumps(told))
    shutil.rmtree(copy / "checkpoint-9")
    with pytest.raises(CheckpointError, match=r"different numbers of classes: 3 and 2"):
        raysample.adopt(str(copy))
    config.write_text(json.dumps({**told, "architectures": ["BertForMaskedLM"]}))
    with pytest.raises(CheckpointError, match="BertForMaskedLM, which is no sequence classifier"):
        raysample.adopt(str(copy))
    config.write_text(json.dumps({**told, "problem_type": "multi_label_classification"}))
    with pytest.raises(CheckpointError, match="made for multi_label_classification"):
        raysample.adopt(str(copy))


def test_a_tokenizer_at_the_runs_root_is_taken_along(copy: Path, corpus: Corpus, tmp_path: Path) -> None:
    names = [
        path.name for path in (copy / "checkpoint-3").iterdir() if path.name.startswith(("token", "special", "vocab"))
    ]
    assert "tokenizer.json" in names
    with_words = raysample.score(str(copy), corpus, ["vog"], max_length=32).to_pandas()
    for folder in copy.glob("checkpoint-*"):
        for name in names:
            shutil.move(folder / name, copy / name)
    trace = raysample.adopt(str(copy), str(tmp_path / "set"))
    assert trace.tokenizer == str(tmp_path / "set/tokenizer")
    without = raysample.score(trace, corpus, ["vog"], max_length=32)
    assert without.to_pandas().equals(with_words)
    found = raysample.verify(without, trace, corpus, rows=3)
    assert found.passed
    words = tmp_path / "set/tokenizer/tokenizer.json"
    words.write_text(words.read_text().replace("pond", "bond"))
    with pytest.raises(CheckpointError, match=r"tokenizer/tokenizer.json' is missing or damaged"):
        raysample.score(CheckpointSet.load(trace.uri), corpus, ["el2n"])
    for name in names:
        (copy / name).unlink()
    with pytest.raises(CheckpointError, match=r"nor the folder of its run holds a tokenizer(.|\n)*processing_class"):
        raysample.adopt(str(copy), str(tmp_path / "other"))


def test_classes_have_the_names_of_the_corpus(run: Path, copy: Path, tmp_path: Path) -> None:
    for config in copy.glob("checkpoint-*/config.json"):
        made_up = {str(i): f"LABEL_{i}" for i in range(3)}
        config.write_text(json.dumps({**json.loads(config.read_text()), "id2label": made_up}))
    files = testing.tiny_corpus_files(tmp_path / "files", 20, 5, files=1)
    with pytest.raises(
        CorpusError, match=r"'calm' \(\d+ rows\)(.|\n)*it knows 'LABEL_0', 'LABEL_1', 'LABEL_2'(.|\n)*--labels"
    ):
        raysample.score(str(copy), files, ["el2n"])
    named = raysample.score(raysample.adopt(str(copy), labels=NAMES), files, ["vog"], max_length=32).to_pandas()
    assert named.equals(raysample.score(str(run), files, ["vog"], max_length=32).to_pandas())
    for labels in (("a", "b"), ("a", "b", "b")):
        with pytest.raises(CheckpointError, match=r"class names \('a'(.|\n)*for the 3 outputs(.|\n)*all different"):
            raysample.adopt(str(copy), labels=labels)


def test_nothing_is_written_into_a_run_and_no_set_is_replaced(run: Path, copy: Path, tmp_path: Path) -> None:
    for place in (copy, copy / "checkpoint-3", copy / "checkpoint-3" / "set"):
        with pytest.raises(CheckpointError, match="a folder of the run that is adopted"):
            raysample.adopt(str(copy), str(place))
    first = raysample.adopt(str(run), str(tmp_path / "set"))
    assert raysample.adopt(str(run), str(tmp_path / "set")).fingerprint == first.fingerprint
    with pytest.raises(CheckpointError, match="another CheckpointSet lies in"):
        raysample.adopt(str(copy), str(tmp_path / "set"))


def test_a_rate_between_logged_steps_is_told_where_it_can_be() -> None:
    line = Schedule({2: 8.0, 4: 6.0, 6: 4.0, 8: 2.0})
    assert line.rate(4) == (6.0, "")
    assert line.rate(5) == (pytest.approx(5.0), "on the line between steps 4 and 6")
    assert line.rate(9) == (2.0, "of step 8, the last one logged before")
    # Up to step 3, then down: between 2 and 4 lies a corner, and no third step is on the line of these two.
    corner = Schedule({1: 1.0, 2: 2.0, 4: 2.0, 5: 1.0})
    assert corner.rate(3) == (2.0, "of step 2, the last one logged before")
    cosine = Schedule({step: float(np.cos(step / 10)) for step in (0, 4, 8, 12)})
    assert cosine.rate(5) == (pytest.approx(np.cos(0.4)), "of step 4, the last one logged before")
    for found in (Schedule().rate(3), Schedule({5: 1.0}).rate(3)):
        assert np.isnan(found[0])
        assert found[1] == "not logged"


def test_without_rates_no_score_goes_by_them(copy: Path, corpus: Corpus, tmp_path: Path) -> None:
    for state in copy.glob("checkpoint-*/trainer_state.json"):
        told = json.loads(state.read_text())
        state.write_text(json.dumps({**told, "log_history": []}))
    trace = raysample.adopt(str(copy), str(tmp_path / "set"))
    assert all(np.isnan(c.learning_rate) for c in trace.checkpoints)
    assert storage.read_json(str(tmp_path / "set/checkpoints.json"))["checkpoints"][0]["learning_rate"] is None
    with pytest.raises(
        CheckpointError, match=r"these are unknown, unknown, unknown, unknown(.|\n)*adopt.learning_rates"
    ):
        raysample.score(CheckpointSet.load(trace.uri), corpus, ["tracin_self"])
    with pytest.raises(CheckpointError, match=r"2 learning rates \(0.1, 0.2\) for 4 checkpoints"):
        raysample.adopt(str(copy), learning_rates=[0.1, 0.2])
    same = raysample.adopt(str(copy), learning_rates=0.1)
    assert [c.learning_rate for c in same.checkpoints] == [0.1] * 4
