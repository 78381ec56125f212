"""`ray job submit` of jobs/run.py on a head started by hand, as the README says; its run appears in MLflow."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from raysample.tracking import plain

ROOT = Path(__file__).resolve().parents[2]
RAY = str(Path(sys.executable).parent / "ray")

pytestmark = [pytest.mark.slow, pytest.mark.ray]


def free_port() -> int:
    # Below Ray's range of worker ports, 10002 to 19999.
    for port in range(9100, 9900):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError("no free port")


@pytest.fixture
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """Start a head with token authentication and a home of its own; yields the jobs address and the environment."""
    home = tmp_path_factory.mktemp("home")
    token = home / "token"
    token.write_text("a-token-for-this-test-only-0123456789abcdef")
    token.chmod(0o600)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "HOME": str(home),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    port, dashboard = free_port(), free_port() + 1
    command = [RAY, "start", "--head", f"--port={port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
    command += ["--num-cpus=3", "--block", f"--temp-dir=/tmp/raysample-head-{os.getpid()}"]
    with (home / "head.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(dashboard, process)
        yield f"http://127.0.0.1:{dashboard}", environment
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the head ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise AssertionError("the head's dashboard did not come up")


def test_a_submitted_run_succeeds_and_appears_in_mlflow(
    head: tuple[str, dict[str, str]], small_run: Path, tmp_path: Path
) -> None:
    address, environment = head
    config = {
        "name": "submitted",
        "corpus": {
            "columns": {"id": "id"},
            "train": {"path": str(small_run / "train.parquet")},
            "test": {"path": str(small_run / "test.parquet")},
        },
        "model": {"hidden_size": 16, "vocabulary_size": 200, "max_length": 16},
        "fine_tune": {"epochs": 1, "learning_rate": 3e-3, "checkpoints": 2},
        "score": {"scores": ["el2n"]},
        "compare": {"seeds": [0], "arms": [{"policy": "hard", "score": "el2n"}]},
    }
    path = tmp_path / "submitted.yaml"
    path.write_text(yaml.safe_dump(config))
    submit = [RAY, "job", "submit", f"--address={address}", "--working-dir=.", "--"]
    job = ["python", "jobs/run.py", "--config", str(path), f"output={tmp_path / 'runs'}"]
    done = subprocess.run([*submit, *job], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "report:" in done.stdout
    assert (tmp_path / "runs" / "submitted" / "report.html").exists()
    assert names_of_runs(tmp_path / "runs" / "mlflow.db") >= {
        "submitted",
        "fine-tune",
        "score",
        "sample",
        "random 50% seed 0",
    }


def names_of_runs(database: Path) -> set[str]:
    from mlflow import MlflowClient

    client = MlflowClient(plain.store_uri(f"sqlite:///{database}"))
    experiment = client.get_experiment_by_name("submitted")
    return {run.info.run_name for run in client.search_runs([experiment.experiment_id])}
