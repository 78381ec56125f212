"""What MLflow will never take is put aside; what it may take later waits; runs of dead drivers are ended."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow.exceptions import MlflowException, RestException
from mlflow.tracking import MlflowClient

from raysample.core.locking.processes import machine, me, started
from raysample.tracking.mlflow import tracker as tracking
from raysample.tracking.mlflow.orphans import DRIVER_TAG, FOLDER_TAG
from raysample.tracking.mlflow.pending import Pending
from raysample.tracking.mlflow.responses import Answer, answer

pytestmark = pytest.mark.slow


def http(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError("no", response=response)


def rest(code: str) -> RestException:
    return RestException({"error_code": code, "message": "no"})


class ObjectStoreError(Exception):
    """As botocore's."""

    def __init__(self, status: int) -> None:
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (rest("RESOURCE_DOES_NOT_EXIST"), Answer.GONE),
        (rest("PERMISSION_DENIED"), Answer.GONE),
        (rest("INVALID_PARAMETER_VALUE"), Answer.REFUSED),
        (rest("RESOURCE_ALREADY_EXISTS"), Answer.REFUSED),
        (http(403), Answer.REFUSED),
        (http(413), Answer.REFUSED),
        (ObjectStoreError(403), Answer.REFUSED),
        (FileNotFoundError("report.html"), Answer.REFUSED),
        (OSError(36, "File name too long"), Answer.REFUSED),
        (OSError(40, "Too many levels of symbolic links"), Answer.REFUSED),
        (KeyError("run"), Answer.REFUSED),
        (TypeError("no number"), Answer.REFUSED),
        (rest("ENDPOINT_NOT_FOUND"), Answer.AWAY),
        (rest("UNAUTHENTICATED"), Answer.AWAY),
        (rest("REQUEST_LIMIT_EXCEEDED"), Answer.AWAY),
        (rest("TEMPORARILY_UNAVAILABLE"), Answer.AWAY),
        (MlflowException("what?"), Answer.AWAY),
        (http(502), Answer.AWAY),
        (ObjectStoreError(503), Answer.AWAY),
        (ConnectionError("refused"), Answer.AWAY),
        (requests.ConnectionError("refused"), Answer.AWAY),
        (OSError(28, "No space left on device"), Answer.AWAY),
    ],
    ids=lambda one: f"{one!s:.30}",
)
def test_answers(error: Exception, expected: Answer) -> None:
    assert answer(error) is expected


def aside(store: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (store.parent / "mlflow-refused.jsonl").read_text().splitlines()]


def pending(store: Path, *operations: Any) -> Path:
    file = store.parent / "mlflow-pending.jsonl"
    file.write_text("".join(f"{json.dumps(operation)}\n" for operation in operations))
    return file


def erase(store: Path, run_id: str | None) -> None:
    with closing(sqlite3.connect(store)) as database, database:
        for table in ("latest_metrics", "metrics", "params", "tags", "runs"):
            database.execute(f"delete from {table} where run_uuid = ?", (run_id,))


def test_a_run_that_vanishes_while_it_runs_is_told_once(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = tracking.open(str(store), "study")
    with tracker.run("sweep", {}) as sweep:
        with sweep.run("lost", {}) as lost:
            erase(store, lost.run_id)
            lost.metrics({"acc": 0.1})
            lost.metrics({"acc": 0.2})
        with sweep.run("arm", {}) as arm:
            arm.metrics({"acc": 0.5})
    assert MlflowClient(f"sqlite:///{store}").get_run(arm.run_id).data.metrics == {"acc": 0.5}
    assert caplog.text.count("did not take") == 1
    assert [operation["do"] for operation in aside(store)] == ["log", "log", "end"]
    assert "away" not in caplog.text


LOG = {"do": "log", "run": "k", "at": 1, "step": 0, "metrics": {"m": 1.0}}
POISON: list[Any] = [
    {**LOG, "ids": {"k": "0" * 32}},
    {"do": "end", "run": "k", "at": 1, "status": "FINISHED", "ids": {"k": "0" * 32}},
    {"do": "start", "run": "k", "parent": None, "name": "n", "at": 1, "experiment": "4711"},
    {"do": "artifact", "run": "k", "path": "/no/such/file", "folder": None, "ids": {"k": "0" * 32}},
    {**LOG, "metrics": [1], "ids": {"k": "0" * 32}},
    {"do": "something that only a later version knows", "run": "k"},
    {"no": "operation"},
    {**LOG, "at": 10**400, "ids": {"k": "0" * 32}},
    {**LOG, "run": ["k"], "ids": {"k": "0" * 32}},
]


@pytest.mark.parametrize("poison", POISON, ids=lambda one: f"{one.get('do', 'none')}"[:9])
def test_what_cannot_be_sent_holds_nothing_up(poison: Any, store: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = tracking.open(str(store), "study")
    begun = {"do": "start", "run": "good", "parent": None, "name": "waiting", "at": 5}
    file = pending(store, poison, begun, {**LOG, "run": "good"})
    with tracker.run("next", {}) as run:
        run.metrics({"acc": 1.0})
    found = {one.info.run_name: one.data.metrics for one in MlflowClient(f"sqlite:///{store}").search_runs(["1", "2"])}
    assert found == {"next": {"acc": 1.0}, "waiting": {"m": 1.0}}
    assert not file.exists()
    assert len(aside(store)) == 1
    assert "mlflow-refused.jsonl" in caplog.text


@pytest.mark.parametrize("line", [b"[" * 100_000, b"\xff\xfe{}", b"7" * 9_999, b'{"do": "log", "cut off'])
def test_a_damaged_line_holds_nothing_up(line: bytes, store: Path) -> None:
    tracker = tracking.open(str(store), "study")
    file = pending(store, {"do": "start", "run": "good", "parent": None, "name": "waiting", "at": 5})
    file.write_bytes(line + b"\n" + file.read_bytes())
    with tracker.run("next", {}):
        pass
    found = {one.info.run_name for one in MlflowClient(f"sqlite:///{store}").search_runs(["1", "2"])}
    assert found == {"next", "waiting"}
    assert not file.exists()
    assert [one["refused"] for one in aside(store)] == ["no operation"]


def test_calls_of_a_driver_at_work_are_left_to_it(store: Path) -> None:
    tracker = tracking.open(str(store), "study")
    child = subprocess.Popen(["true"])
    child.wait()
    where, _, _ = me().rpartition(":")[0].rpartition(":")
    parent = os.getppid()
    living = {"do": "start", "run": "a", "parent": None, "name": "living", "at": 5}
    living["by"] = f"{where}:{parent}:{started(parent)}"
    dead = {**living, "run": "b", "name": "dead", "by": f"{where}:{child.pid}:1"}
    file = pending(store, living, dead)
    with tracker.run("mine", {}):
        pass
    names = {one.info.run_name for one in MlflowClient(f"sqlite:///{store}").search_runs(["1", "2"])}
    assert names == {"mine", "dead"}
    assert [json.loads(line)["name"] for line in file.read_text().splitlines()] == ["living"]


def test_runs_of_dead_drivers_of_the_folder_are_ended(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = MlflowClient(f"sqlite:///{store}")
    experiment = client.create_experiment("study")
    drivers = {
        "killed": ("/runs/a", f"{machine()}:999999999:1"),
        "lost": ("/runs/a", "host/boot/1:5:5"),
        "living": ("/runs/a", me()),
        "elsewhere": ("/runs/a", "host/boot/1:6:6"),
        "other folder": ("/runs/b", f"{machine()}:999999999:1"),
    }
    for name, (folder, driver) in drivers.items():
        client.create_run(experiment, run_name=name, tags={FOLDER_TAG: folder, DRIVER_TAG: driver})
    client.create_run(experiment, run_name="somebody's")
    tracking.open(str(store), "study", folder="/runs/a", gone=("host/boot/1:5:5",))
    found = {run.info.run_name: run.info.status for run in client.search_runs([experiment])}
    assert {name for name, status in found.items() if status == "KILLED"} == {"killed", "lost"}
    assert {status for name, status in found.items() if name not in ("killed", "lost")} == {"RUNNING"}
    assert "2 runs of earlier drivers" in caplog.text


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 warns of forks beside threads
@pytest.mark.parametrize("call", ["log_batch", "set_terminated", "log_inputs"])
def test_a_run_is_ended_whichever_call_its_driver_died_in(call: str, store: Path) -> None:
    tracker = tracking.open(str(store), "study", folder="/runs/a")
    client = MlflowClient(f"sqlite:///{store}")
    experiment = client.get_experiment_by_name("study").experiment_id

    def die(*given: Any, **more: Any) -> None:
        os._exit(9)

    # A process of its own, which dies as by SIGKILL: nothing ends the run on the way out.
    if (child := os.fork()) == 0:
        tracker._tags[DRIVER_TAG] = me()
        setattr(tracker._link.client, call, die)
        with tracker.run("dies", {"rows": 1}) as run:
            run.dataset("train", "/rows", "sha256:00", "training")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert [run.info.status for run in client.search_runs([experiment])] == ["RUNNING"]
    tracking.open(str(store), "study", folder="/runs/a")
    assert [run.info.status for run in client.search_runs([experiment])] == ["KILLED"]


@pytest.mark.parametrize("what", ["folder", "pipe", "link to a pipe"])
def test_calls_wait_in_a_file_whatever_lay_in_its_place(what: str, tmp_path: Path) -> None:
    path = tmp_path / "mlflow-pending.jsonl"
    if what == "folder":
        path.mkdir()
    else:
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to("pipe") if what.startswith("link") else (tmp_path / "pipe").rename(path)
    waiting, sent = Pending(path), []
    waiting.append({"do": "start", "run": "a"})
    assert path.is_file()
    assert waiting.deliver(sent.append) is None
    assert [operation["do"] for operation in sent] == ["start"]
    assert len(list(tmp_path.glob("mlflow-pending.jsonl.no-file-*"))) == 1
