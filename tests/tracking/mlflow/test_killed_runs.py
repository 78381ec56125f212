"""Runs of commands that a signal ends are KILLED in MLflow, and the command's code is the signal's."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.helpers import warm
from tests.helpers.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forking")]

# Shells let their background jobs ignore SIGINT, and what these start inherits it.
STUCK = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["raysample"]
from raysample.cli import commands, main
from raysample.tracking import mlflow

def work(config, reporter):
    with mlflow.open(str(config.output) + "/mlflow.db", "study").run("fine-tune", {}) as run:
        print(run.run_id, flush=True)
        signal.pause()

commands.run_fine_tune = work
sys.exit(main.main(["fine-tune", sys.argv_config]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_in_mlflow_ends_as_killed(number: signal.Signals, code: int, store: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"output: {tmp_path}\nengine: {{kind: local}}\n")
    script = STUCK.replace("sys.argv_config", repr(str(tmp_path / "c.yaml")))
    child = subprocess.Popen(
        [*warm.python(), "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    run_id = child.stdout.readline().strip()
    os.kill(warm.forked_by(child.pid), number)
    _, errors = child.communicate(timeout=120)
    assert child.returncode == code, errors
    assert "Traceback" not in errors
    with closing(sqlite3.connect(store)) as database:
        assert database.execute("select status from runs where run_uuid = ?", (run_id,)).fetchall() == [("KILLED",)]
