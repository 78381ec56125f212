"""Everything that stands in the way of a run is told at once, before its corpora are read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raysample.cli import main
from raysample.core.config import FineTuneConfig, ModelConfig, RunConfig, parse
from raysample.core.errors import (
    CheckpointError,
    ClusterError,
    ConfigError,
    CorpusError,
    ModelError,
    RaysampleError,
    ScoreError,
    StorageError,
)
from raysample.execution.base import Demand
from raysample.execution.local import LocalExecutor
from raysample.workflow import RunFolder, preflight

pytestmark = pytest.mark.slow

ALL = ("fine-tune", "score", "compare")


class Cluster(LocalExecutor):
    """Has a number of CPUs, and refuses what needs more."""

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus

    def refusals(self, demands: Sequence[Demand]) -> list[RaysampleError]:
        return [ClusterError(one.what, "add nodes") for one in demands if one.workers > self.cpus]


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """Return a configuration that nothing stands in the way of."""
    for name in ("train", "test", "other"):
        lines = [json.dumps({"text": f"t{i}", "label": "ab"[i % 2]}) for i in range(6)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return {
        "output": str(tmp_path / "runs"),
        "corpus": {"train": {"path": f"{tmp_path}/train.jsonl"}, "test": {"path": f"{tmp_path}/test.jsonl"}},
        "score": {"scores": ["el2n"], "targets": {"holiday": {"path": f"{tmp_path}/other.jsonl"}}},
        "engine": {"kind": "local"},
    }


def changed(data: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    return {**data, head: changed(data.get(head, {}), rest, value) if rest else value}


def check(data: dict[str, Any], steps: Sequence[str] = ALL, cpus: int = 4, uri: str | None = None) -> None:
    config = parse(data)
    preflight.check_preflight(config, RunFolder.from_config(config), Cluster(cpus), steps, uri)


WRONG: list[tuple[str, Any, type[RaysampleError], str]] = [
    ("corpus.train.path", "/no/such/file", CorpusError, "nothing at '/no/such/file'"),
    ("corpus.test.path", "/no/such/file", CorpusError, "nothing at '/no/such/file'"),
    ("score.targets.holiday.path", "/no/such/file", CorpusError, "nothing at '/no/such/file'"),
    ("corpus.train.columns", {"text": "words"}, CorpusError, "train.jsonl' has no column 'words'"),
    ("corpus.test.columns", {"label": "intent"}, CorpusError, "test.jsonl' has no column 'intent'"),
    ("score.targets.holiday.columns", {"text": "words"}, CorpusError, "other.jsonl' has no column 'words'"),
    ("log", {"source": {"path": "LOG", "columns": {"text": "words"}}}, CorpusError, "has no column 'words'"),
    ("model.path", "/no/such/model", ModelError, "no model folder at '/no/such/model'"),
    ("adopt", {"path": "/no/such/run"}, CheckpointError, "/no/such/run"),
    ("fine_tune.workers", 5, ClusterError, "fine-tuning"),
    ("score.workers", 5, ClusterError, "scoring"),
    ("compare.workers", 5, ClusterError, "retraining the arms"),
    ("compare.arms", [{"policy": "hard", "score": "vog"}], ScoreError, "goes by 'vog'"),
]


def test_nothing_stands_in_the_way(data: dict[str, Any]) -> None:
    check(changed(data, "compare.arms", []))


@pytest.mark.parametrize(("key", "value", "kind", "problem"), WRONG, ids=[one[0] for one in WRONG])
def test_one_thing_is_told_as_it_is(
    key: str, value: Any, kind: type[RaysampleError], problem: str, data: dict[str, Any], tmp_path: Path
) -> None:
    data = changed(data, "compare.arms", [])
    if key == "log":
        value["source"]["path"] = str(tmp_path / "other.jsonl")
    with pytest.raises(kind, match=problem):
        check(changed(data, key, value))


@pytest.mark.parametrize("uri", ["mlruns", "gopher://host", "http://", "https:///path"])
def test_a_tracking_uri_that_cannot_be_one(uri: str, data: dict[str, Any]) -> None:
    with pytest.raises(StorageError, match=r"database file|HOST:PORT"):
        check(changed(data, "compare.arms", []), uri=uri)


@pytest.mark.parametrize("uri", ["http://mlflow:5000", "m.db", "postgresql+psycopg://u:p@h/d", "databricks://x"])
def test_tracking_uris_that_may_be_used(uri: str, data: dict[str, Any]) -> None:
    check(changed(data, "compare.arms", []), uri=uri)


def test_all_is_told_at_once(data: dict[str, Any]) -> None:
    for key, value, _, _ in WRONG:
        if key not in ("adopt", "log") and not key.endswith(".path"):
            data = changed(data, key, value)
    data = changed(data, "model.path", "/no/such/model")
    with pytest.raises(ConfigError, match=r"^9 things stand in the way") as caught:
        check(data, uri="mlruns")
    told = str(caught.value)
    assert [f"  {number}. " in told for number in range(1, 11)] == [True] * 9 + [False]
    for problem in ("'words'", "'intent'", "/no/such/model", "fine-tuning", "scoring", "retraining", "'vog'", "mlruns"):
        assert problem in told
    assert "     -> add nodes" in told
    assert "mend all of it" in caught.value.advice


def test_every_missing_column_of_a_file_is_told(data: dict[str, Any]) -> None:
    data = changed(data, "compare.arms", [])
    with pytest.raises(ConfigError, match=r"(?s)3 things.*'words'.*'intent'.*'uid'"):
        check(changed(data, "corpus.train.columns", {"text": "words", "label": "intent", "id": "uid"}))


@pytest.mark.parametrize(
    ("recipe", "fewest"),
    [
        ({"epochs": 4}, 4),
        ({"epochs": 4, "checkpoints": 10}, 10),
        ({"epochs": 4, "checkpoints_per_epoch": 3}, 12),
        ({"epochs": 4, "checkpoint_every": 3}, 1),
        ({"epochs": 4, "keep_checkpoints": "scored"}, 1),
        ({"epochs": 4, "early_stopping": {}}, 1),
    ],
)
def test_checkpoints_are_counted_low(recipe: dict[str, Any], fewest: int) -> None:
    assert preflight.fewest_checkpoints(FineTuneConfig.model_validate(recipe)) == fewest


@pytest.mark.parametrize(("free", "fits"), [(10**6, False), (10**9, True)])
def test_a_disk_without_room_is_told(
    free: int, fits: bool, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = changed(changed(data, "compare.arms", []), "model", {"hidden_size": 64, "layers": 2})
    assert preflight.model_bytes(ModelConfig(hidden_size=64, layers=2)) == 4 * 12 * 2 * 64 * 64
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    if fits:
        check(data)
        return
    with pytest.raises(StorageError, match=r"need 1\.18 MB, and the disk of .* has 1 MB free"):
        check(data)


def test_what_is_finished_is_not_asked_for(data: dict[str, Any], tmp_path: Path) -> None:
    data = changed(changed(data, "compare.arms", []), "fine_tune.workers", 5)
    config = parse(data)
    space = RunFolder.from_config(config)
    space.claim(config)
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").unlink()
    check(data, steps=("score",))
    check(data, steps=())
    with pytest.raises(ClusterError, match="fine-tuning"):
        check(data)
    Path(space.checkpoints(0)).mkdir(parents=True)
    (Path(space.checkpoints(0)) / "checkpoints.json").write_text("{}")
    check(data)


def test_the_command_line_reads_no_corpus_before_all_is_feasible(
    data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(json.dumps(data))
    wrong = ["model.path=/no/such/model", "corpus.test.path=/no/such/test", "tracking.uri=gopher://host"]
    code = main.main(["run", str(tmp_path / "c.yaml"), "compare.arms=[]", *wrong])
    told = capsys.readouterr()
    assert code == 2
    assert "3 things stand in the way" in told.err
    assert told.out == ""
    assert not list(tmp_path.glob("runs/*"))


def test_a_whole_configuration_by_default_is_feasible(tmp_path: Path) -> None:
    config = RunConfig(output=str(tmp_path))
    preflight.check_preflight(config, RunFolder.from_config(config), Cluster(1), ALL)
