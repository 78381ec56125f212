"""The arm `auto` of a comparison is what the race chose on the training rows, else stratified random sampling."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from raysample.cli import main
from raysample.core.config import ArmConfig, parse
from raysample.evaluation.comparison import Comparison
from raysample.selection import Selection
from raysample.selection.race.candidates import INCUMBENT
from raysample.workflow import choice
from raysample.workflow.layout import RunFolder
from tests.workflow.test_prune import CLEAN, rows_of


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    for name, rows in (("train", rows_of(800, noise=0.4)), ("test", rows_of(100, noise=0.0, seed=1))):
        pq.write_table(pa.Table.from_pandas(rows), tmp_path / f"{name}.parquet")
    return {
        "name": "r",
        "output": str(tmp_path / "runs"),
        "corpus": {
            "columns": {"id": "id"},
            "train": {"path": str(tmp_path / "train.parquet")},
            "test": {"path": str(tmp_path / "test.parquet")},
        },
        "model": {"path": "tiny", "hidden_size": 8, "layers": 1, "vocabulary_size": 150, "max_length": 12},
        "fine_tune": {"epochs": 1, "learning_rate": 1e-3, "checkpoints": 1},
        "score": {"scores": ["el2n"]},
        "compare": {"arms": [{"policy": "auto"}], "fractions": [0.05], "seeds": [0, 1], "regime": "equal_epochs"},
        "engine": {"kind": "local"},
        "tracking": {"enabled": False},
    }


def selections(config: dict[str, Any], *verbs: str) -> dict[int, Selection]:
    """Call commands on a configuration; return the selections of `auto` by seed."""
    path = Path(config["output"]).parent / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    for verb in verbs:
        assert main.main([verb, str(path)]) == 0
    run = RunFolder.from_config(parse(config))
    (fraction,) = config["compare"]["fractions"]
    auto = ArmConfig(policy="auto")
    return {seed: Selection.load(run.selection(auto, fraction, seed)) for seed in config["compare"]["seeds"]}


UNTIL_SAMPLE = ("fine-tune", "score", "sample")


def test_auto_selects_by_the_winner_of_the_race_and_is_compared(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "portfolio", lambda *_: (ArmConfig.model_validate(CLEAN),))
    found = selections(config, *UNTIL_SAMPLE)
    assert [chosen.arm for chosen in found.values()] == [ArmConfig.model_validate(CLEAN).to_dict()] * 2
    assert found[0].digest != found[1].digest  # each seed draws anew
    assert found[0].counts["kept"] == 40
    monkeypatch.setattr(choice, "run_race", None)  # what was chosen is read again
    assert selections(config, "sample", "compare") == found
    comparison = Comparison.load(str(tmp_path / "runs" / "r" / "comparison.json"))
    assert {run.arm for run in comparison.runs} == {"full", "random", "stratified_random", "auto"}
    name = ArmConfig.model_validate(CLEAN).name
    chosen, tuned, cost, suspects, *_ = comparison.remarks
    assert chosen.startswith(f"auto at 5% of the data is {name}, chosen on 800 training rows: by a linear probe +")
    assert tuned.startswith("Fine-tuned it has ")
    assert cost.startswith("Choosing took ")
    assert "of one fine-tuning on all rows" in cost
    assert cost.startswith(f"Choosing took {comparison.choice_seconds['auto']:,.0f} s")
    assert comparison.choice_seconds.keys() == {"auto"}
    place = tmp_path / "runs" / "r" / "auto" / "suspects.csv"
    assert suspects.endswith(f"of 800 training rows have a label that the probe contradicts: {place}")
    with place.open(newline="") as stream:
        listed = list(csv.reader(stream))
    # No text leaves for a file unless report.show_text asks for it.
    assert listed[0] == ["row_id", "given", "predicted", "given_confidence", "predicted_confidence"]
    assert len(listed) - 1 == int(suspects.partition(" of ")[0]) > 50


def test_auto_without_evidence_is_stratified_random(config: dict[str, Any]) -> None:
    config["compare"]["fractions"] = [0.5]
    config["report"] = {"show_text": True}
    found = selections(config, *UNTIL_SAMPLE, "compare")
    assert [chosen.arm for chosen in found.values()] == [INCUMBENT.to_dict()] * 2
    run = Path(config["output"]) / "r"
    remark, *_ = Comparison.load(str(run / "comparison.json")).remarks
    assert remark.startswith("auto at 50% of the data is stratified random sampling: ")
    assert "predicted_confidence,text,text_pair" in (run / "auto" / "suspects.csv").read_text()


def test_the_test_rows_take_no_part_in_the_choice(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "portfolio", lambda *_: (ArmConfig.model_validate(CLEAN),))
    before = selections(config, *UNTIL_SAMPLE)
    pq.write_table(pa.Table.from_pandas(rows_of(60, noise=0.9, seed=5)), tmp_path / "test.parquet")
    after = selections({**config, "name": "other"}, *UNTIL_SAMPLE)
    assert [chosen.digest for chosen in before.values()] == [chosen.digest for chosen in after.values()]


def test_a_dry_run_leaves_no_race_in_the_run_folder(config: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    for words in (["fine-tune"], ["score"], ["sample", "--dry-run"]):
        assert main.main([words[0], str(path), *words[1:]]) == 0
    assert not (tmp_path / "runs" / "r" / "auto").exists()


@pytest.mark.parametrize("more", [{"min_per_class": 5}, {"score": "el2n"}, {"quota": "balanced"}])
def test_settings_beside_auto_are_refused_before_any_work(
    more: dict[str, Any], config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config["compare"]["arms"] = [{"policy": "auto", **more}]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main.main(["run", str(path)]) == 2
    assert "settings beside policy: auto" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "r" / "checkpoints").exists()
