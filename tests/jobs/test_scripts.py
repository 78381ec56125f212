"""The job scripts without Ray: arguments, signals, names. A real submission is tested elsewhere."""

from __future__ import annotations

import importlib
import os
import runpy
import signal
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import JOBS

VERBS = {"run": "run", "fine_tune": "fine-tune", "score": "score", "sample": "sample", "compare": "compare"}
Call = list[list[str]]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    """Write down what the command line is called with; only the mapping of arguments is under test."""
    calls: Call = []
    fake = types.ModuleType("raysample.cli.main")
    fake.main = lambda arguments: calls.append(list(arguments)) or 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "raysample.cli.main", fake)
    monkeypatch.syspath_prepend(str(JOBS))
    monkeypatch.delitem(sys.modules, "run", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield calls
    signal.signal(signal.SIGTERM, before)
    sys.modules.pop("run", None)


def call(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", [f"jobs/{name}.py", *arguments])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(JOBS / f"{name}.py"), run_name="__main__")
    return left.value.code


@pytest.mark.parametrize("name", VERBS)
def test_a_job_calls_its_verb_in_the_running_cluster(name: str, cli: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(name, monkeypatch, "--config", "c.yaml", "output=/shared", "fine_tune.epochs=1") == 0
    assert cli == [[VERBS[name], "c.yaml", "engine.address=auto", "output=/shared", "fine_tune.epochs=1"]]


def test_the_exit_code_is_the_command_lines(cli: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["raysample.cli.main"], "main", lambda _: 2)
    assert call("score", monkeypatch, "--config", "c.yaml") == 2


def test_a_missing_config_is_a_user_error(
    cli: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("fine_tune", monkeypatch) == 2
    assert "--config" in capsys.readouterr().err
    assert cli == []


def test_sigterm_unwinds_and_leaves_with_a_word(
    cli: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unwound: list[bool] = []

    def work(_: list[str]) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            unwound.append(True)

    monkeypatch.setattr(sys.modules["raysample.cli.main"], "main", work)
    assert call("run", monkeypatch, "--config", "c.yaml") == 143
    assert unwound == [True]
    assert "finished is kept" in capsys.readouterr().err


def test_a_temporary_output_is_named(
    cli: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "runtime_resources" / "working_dir_files" / "pkg"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    call("run", monkeypatch, "--config", "c.yaml")
    assert "output=" in capsys.readouterr().err
    call("run", monkeypatch, "--config", "c.yaml", "output=/shared")
    assert capsys.readouterr().err == ""


def test_the_repository_is_importable_from_a_job(cli: Call) -> None:
    importlib.import_module("run")
    assert str(JOBS.parent) in sys.path


@pytest.mark.parametrize("script", sorted(JOBS.glob("*.py")), ids=lambda path: path.name)
def test_scripts_are_short_and_shadow_nothing(script: Path) -> None:
    text = script.read_text()
    assert "def main()" in compile_and_return(text, script)
    assert len(text.splitlines()) <= 60
    assert script.stem not in sys.stdlib_module_names


def compile_and_return(text: str, script: Path) -> str:
    compile(text, str(script), "exec")
    return text


def test_there_is_a_job_for_every_verb() -> None:
    assert {script.stem for script in JOBS.glob("*.py")} == set(VERBS)
