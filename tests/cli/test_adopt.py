"""Adopted checkpoints in place of a fine-tuning: the command line from a Trainer's folder to a comparison."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from raysample.cli import main
from raysample.core.config import parse
from raysample.core.errors import ConfigError
from raysample.data.score_table import ScoreTable
from tests.helpers import trainer_runs
from tests.helpers.configs import small_corpus, write_config
from tests.helpers.trainer_runs import NAMES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trainer_runs.trained(tmp_path_factory.mktemp("run") / "out")


def configured(folder: Path, small_run: Path, **changes: object) -> str:
    sections = {
        "name": "adopting",
        "model": {"hidden_size": 16, "vocabulary_size": 200, "max_length": 32},
        "fine_tune": {"epochs": 1, "learning_rate": 3e-3},
        "score": {"scores": [{"name": "el2n", "checkpoints": "all"}, "tracin_self"]},
        "compare": {"seeds": [0], "arms": [{"policy": "hard", "score": "el2n"}]},
    }
    return str(write_config(folder, small_run, **{**sections, **changes}))


def test_a_trainers_run_is_adopted_scored_and_compared(
    run: Path, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, output = configured(tmp_path, small_run), tmp_path / "set"
    assert main.main(["adopt", str(run), "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    rows = [line.split() for line in shown.splitlines() if "checkpoint-" in line or "line between" in line]
    assert [row[0] for row in rows if row[0].isdigit()] == ["3", "6", "9", "12"]
    assert f"checkpoints: {output}" in shown.replace("\n", "")
    # No fine-tuning goes before: `score` takes the checkpoints as they are.
    assert main.main(["score", config, f"adopt.path={output}"]) == 0
    assert "4 checkpoints, from" in capsys.readouterr().out
    table = ScoreTable.load(str(tmp_path / "runs/adopting/scores"))
    assert table.labels == NAMES
    found = table.to_pandas().set_index("row_id")
    texts = pq.read_table(small_run / "train.parquet").to_pandas().set_index("id").loc[found.index]
    places = [str(run / f"checkpoint-{step}") for step in (3, 6, 9, 12)]
    by_hand = trainer_runs.el2n(places, texts["text"].tolist(), texts["label"].tolist())
    assert found["el2n"].to_numpy() == pytest.approx(by_hand, rel=1e-4)
    assert main.main(["score", config, f"adopt.path={output}"]) == 0
    again = capsys.readouterr().out
    assert "adopt\n" not in again  # done once
    assert main.main(["score", config, f"adopt.path={run}"]) == 2
    assert "adopt.path was" in capsys.readouterr().err
    assert main.main(["run", config, f"adopt.path={output}"]) == 0
    comparison = json.loads((tmp_path / "runs/adopting/comparison.json").read_text())
    assert {row["arm"] for row in comparison["summaries"]} == {"full", "random", "stratified_random", "hard(el2n)"}
    assert not list((tmp_path / "runs/adopting/checkpoints").glob("seed-*"))


def test_a_trainers_folder_is_adopted_by_the_configuration_alone(
    run: Path, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = trainer_runs.copied(run, tmp_path / "copy")
    config = configured(tmp_path, small_run, adopt={"path": str(copy), "learning_rates": [0.5]})
    assert main.main(["fine-tune", config]) == 0
    told = json.loads((tmp_path / "runs/adopting/checkpoints/adopted/checkpoints.json").read_text())
    assert [row["learning_rate"] for row in told["checkpoints"]] == [0.5] * 4
    assert told["labels"] == list(NAMES)
    weights = copy / "checkpoint-6/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + bytes(4))
    assert main.main(["score", config]) == 2
    assert "checkpoint-6/model.safetensors' is missing or damaged" in capsys.readouterr().err.replace("\n", "")


def test_plan_measures_the_scoring_of_adopted_checkpoints_and_the_retrainings(
    run: Path, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = trainer_runs.copied(run, tmp_path / "copy")
    (copy / "checkpoint-12/optimizer.pt").write_bytes(bytes(50_000_000))  # no scoring actor loads it
    config = configured(tmp_path, small_run, adopt={"path": str(copy)})
    assert main.main(["plan", config, "--rows", "60", "compare.fractions=[0.5]"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "fine-tune" not in told
    assert "score 200 rows x 2 scores" in told
    assert "compare 4 retrainings" in told  # the full data, too: no run of ours was scored
    assert "a scoring worker holds 4 checkpoints of" in told
    assert float(told.partition("checkpoints of ")[2].split()[0]) < 1000
    assert "kB, " in told.partition("checkpoints of ")[2][:12]
    assert sorted(path.name for path in (tmp_path / "runs/adopting").iterdir()) == ["checkpoints", "corpus"]
    assert main.main(["score", config]) == 0


def test_what_does_not_fit_is_told_before_anything_is_scored(
    run: Path, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = trainer_runs.copied(run, tmp_path / "copy")
    for verb, more, message in (
        ("score", ["adopt.labels=[a, b, c]"], "it knows 'a', 'b', 'c'"),
        ("score", ["adopt.labels=[a, b]"], "for the 3 outputs of"),
        ("score", ["score.scores=[{name: el2n, checkpoints: {spread: 9}}]"], "the run has 4"),
        ("score", ["score.runs=2"], "set it to 1"),
        ("plan", ["adopt.labels=[a, b, c]"], "it knows 'a', 'b', 'c'"),
    ):
        config = configured(tmp_path, small_run, adopt={"path": str(copy)})
        assert main.main([verb, config, *more]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "runs/adopting/run.json").exists()
    shutil.rmtree(copy)
    assert main.main(["score", configured(tmp_path, small_run, adopt={"path": str(copy)})]) == 2
    assert "there is no folder" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="without captured logits"):
        parse({"adopt": {"path": "x"}, "score": {"source": "capture"}, "fine_tune": {"capture": True}})
    assert main.main(["adopt", str(run), "--learning-rates", "fast"]) == 2
    assert "these are no numbers" in capsys.readouterr().err


def test_classes_of_the_checkpoints_that_no_row_has_are_told(
    run: Path, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pq.read_table(small_run / "train.parquet").to_pandas()
    some = tmp_path / "some.parquet"
    rows[rows["label"] != "calm"].to_parquet(some)
    corpus = small_corpus(small_run, train={"path": str(some)})
    config = configured(tmp_path, small_run, corpus=corpus, adopt={"path": str(run)})
    assert main.main(["score", config]) == 0
    assert "no training row has these classes of the checkpoints: calm" in capsys.readouterr().out
    found = ScoreTable.load(str(tmp_path / "runs/adopting/scores")).to_pandas()
    assert set(found["class"]) == {"round", "quick"}
    assert np.isfinite(found["el2n"]).all()
