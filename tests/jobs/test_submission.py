"""`ray job submit` of jobs/run.py on a head started by hand, as the README says; its run appears in MLflow."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
import yaml

from raysample.execution.ray.session import SLOW_START
from tests.helpers.configs import small_config
from tests.helpers.paths import ROOT

RAY = str(Path(sys.executable).parent / "ray")

pytestmark = [pytest.mark.slow, pytest.mark.ray]


def free_ports(count: int) -> list[int]:
    # Below Ray's range of worker ports, 10002 to 19999.
    found = []
    for port in range(9100, 9900):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("too few free ports")


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
    port, dashboard, listen, agent = free_ports(4)
    folder = f"/tmp/raysample-head-{os.getpid()}"  # short: it holds sockets, whose paths may not be long
    command = [RAY, "start", "--head", f"--port={port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
    # The agents' usual ports may be those of another cluster on this machine.
    command += [f"--dashboard-agent-listen-port={listen}", f"--dashboard-agent-grpc-port={agent}"]
    command += ["--num-cpus=3", "--block", f"--temp-dir={folder}"]
    process = start(command, environment, home / "head.log", folder)
    try:
        wait_for(dashboard, process)
        wait_for(listen, process)
        yield f"http://127.0.0.1:{dashboard}", environment
    finally:
        stop(process, folder)


def start(command: list[str], environment: dict[str, str], log: Path, folder: str) -> subprocess.Popen[bytes]:
    """Start a head, anew if it gave up: Ray waits half a minute for its own processes, however busy the machine is."""
    for _ in range(3):
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command, env=environment, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, start_new_session=True
            )
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            text = log.read_text(errors="replace")
            if "Ray runtime started" in text:
                return process
            if process.poll() is not None or SLOW_START in text:
                break
            time.sleep(0.5)
        stop(process, folder)
    raise AssertionError(f"the head did not start: {log.read_text(errors='replace')[-3000:]}")


def stop(process: subprocess.Popen[bytes], folder: str) -> None:
    """Kill a head with all its processes, some of which would outlive it and disturb the next cluster."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while (left := processes_in(folder)) and time.monotonic() < deadline:
        for each in left:  # until no new one appears: some start others while they die
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(left, timeout=5)
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def processes_in(folder: str) -> list[psutil.Process]:
    """Return the processes whose command line names a folder."""
    return [
        one for one in psutil.process_iter(["cmdline"]) if any(folder in word for word in one.info["cmdline"] or [])
    ]


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the head ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise AssertionError(f"nothing listens on the head's port {port}")


def test_a_submitted_run_succeeds_and_appears_in_mlflow(
    head: tuple[str, dict[str, str]], small_run: Path, tmp_path: Path
) -> None:
    address, environment = head
    config = small_config(
        tmp_path,
        small_run,
        name="submitted",
        fine_tune={"epochs": 1, "learning_rate": 3e-3, "checkpoints": 2},
        score={"scores": ["el2n"]},
        compare={"seeds": [0], "arms": [{"policy": "hard", "score": "el2n"}]},
    )
    del config["engine"], config["tracking"]  # on Ray, and tracked
    path = tmp_path / "submitted.yaml"
    path.write_text(yaml.safe_dump(config))
    submit = [RAY, "job", "submit", f"--address={address}", "--working-dir=.", "--"]
    job = ["python", "jobs/run.py", "--config", str(path), f"output={tmp_path / 'runs'}"]
    done = subprocess.run([*submit, *job], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
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
    with closing(sqlite3.connect(database)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM runs WHERE status = 'FINISHED'")}
