"""Without an optional library: what asks for it is refused by the extra's name, and all else works."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import raysample.core.config
from raysample.cli import main
from raysample.core import storage
from raysample.core.config import EngineConfig
from raysample.core.errors import MissingExtraError, StorageError
from raysample.core.extras import EXTRAS, is_installed, require_extra
from raysample.execution.create import create_executor
from tests.helpers import warm

ROOT = Path(__file__).resolve().parents[2]

BLOCKED = """
import sys
from tests.helpers.warm import forget

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
for name in {blocked}:
    sys.modules[name] = None
forget("raysample")
from raysample.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Let modules look as if they were not installed."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration file of a small run in this process."""
    for name, rows in (("train", 80), ("test", 30)):
        lines = [json.dumps({"text": f"word{i % 2} text {i} of {name}", "label": "ab"[i % 2]}) for i in range(rows)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    settings: dict[str, Any] = {
        "name": "small",
        "output": str(tmp_path / "runs"),
        "corpus": {"train": {"path": f"{tmp_path}/train.jsonl"}, "test": {"path": f"{tmp_path}/test.jsonl"}},
        "model": {"hidden_size": 16, "max_length": 8},
        "fine_tune": {"epochs": 1, "batch_size": 16, "learning_rate": 0.01},
        "score": {"scores": ["el2n"]},
        "compare": {"fractions": [0.5], "seeds": [0], "arms": [{"policy": "hard", "score": "el2n"}]},
        "engine": {"kind": "local"},
    }
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(settings))
    return path


def test_the_extras_are_those_of_the_package() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS) | {"all", "docs", "dev"} == set(declared)
    assert declared["all"] == [f"raysample[{','.join(EXTRAS)}]"]
    for extra, modules in EXTRAS.items():
        names = [line.partition("[")[0].partition(">")[0] for line in declared[extra]]
        assert sorted(names) == sorted(modules)


@pytest.mark.parametrize(("extra", "module"), [(extra, name) for extra, names in EXTRAS.items() for name in names])
def test_a_missing_extra_is_named(extra: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_installed(extra)
    require_extra(extra, "the test")
    without(monkeypatch, module)
    assert not is_installed(extra)
    with pytest.raises(MissingExtraError, match=rf"the test needs {module}: not installed") as caught:
        require_extra(extra, "the test", "do without")
    assert caught.value.advice == f"pip install 'raysample[{extra}]', or do without"


def test_an_executor_on_ray_needs_ray_and_the_local_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "ray")
    assert create_executor(EngineConfig(kind="local")).slots() >= 1
    with pytest.raises(MissingExtraError, match=r"raysample\[ray\]"):
        create_executor(EngineConfig(kind="ray"))


def test_the_command_line_names_ray_before_it_reads_a_corpus(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "ray")
    assert main.main(["run", str(config), "engine.kind=ray"]) == 2
    said = capsys.readouterr().err
    assert "engine.kind: ray needs ray: not installed" in said
    assert "pip install 'raysample[ray]', or set engine.kind=local" in said
    assert not (config.parent / "runs").exists()


@pytest.mark.parametrize("setting", ["tracking.uri=sqlite:///some.db", "tracking.enabled=true"])
def test_tracking_that_is_asked_for_needs_mlflow(
    setting: str, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "mlflow")
    assert main.main(["fine-tune", str(config), setting]) == 2
    assert "pip install 'raysample[mlflow]', or set tracking.enabled=false" in capsys.readouterr().err
    assert not (config.parent / "runs").exists()


def test_models_of_mlflow_need_mlflow(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    without(monkeypatch, "mlflow")
    assert main.main(["adopt", "runs:/0123", "--tracking-uri", "sqlite:///some.db"]) == 2
    assert "pip install 'raysample[mlflow]', or give a folder" in capsys.readouterr().err


def test_the_report_needs_matplotlib(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "matplotlib")
    assert main.main(["report", str(config)]) == 2
    assert "pip install 'raysample[report]'" in capsys.readouterr().err


def test_object_storage_needs_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "s3fs")
    # fsspec keeps the class of a protocol that something in this process has used before.
    monkeypatch.delitem(import_module("fsspec.registry")._registry, "s3", raising=False)
    with pytest.raises(StorageError, match=r"pip install 'raysample\[s3\]'"):
        storage.exists("s3://bucket/key")


@pytest.mark.slow
@pytest.mark.usefixtures("forking")
def test_a_whole_run_needs_no_optional_library(config: Path) -> None:
    blocked = repr({module for modules in EXTRAS.values() for module in modules} - {"jinja2"})  # torch needs jinja2
    code = BLOCKED.format(blocked=blocked)
    command = [*warm.python(), "-c", code, "run", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "MLflow is not installed, so this run is not tracked (pip install 'raysample[mlflow]')" in said
    assert "matplotlib is not installed, so no report is written (pip install 'raysample[report]')" in said
    folder = config.parent / "runs/small"
    assert (folder / "comparison.json").exists()
    assert not (folder / "report.html").exists()
    assert not (config.parent / "runs/mlflow.db").exists()
    assert raysample.core.config.load(folder / "config.yaml").tracking.enabled
