"""The MLflow tracker on a real sqlite store."""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raysample.core.errors import StorageError
from raysample.tracking import Tracker
from raysample.tracking.mlflow import tracker as tracking

pytestmark = pytest.mark.slow

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.fixture
def tracker(store: Path) -> tracking.MLflowTracker:
    return tracking.open(str(store), "study")


def runs_of(tracker: tracking.MLflowTracker) -> dict[str, Any]:
    client = tracker._link.client
    experiment = client.get_experiment_by_name("study")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


class Outage:
    """Stands between the tracker and its store, and fails as a dead server does while `down` is true."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.down = True

    def __getattr__(self, name: str) -> Any:
        if self.down:
            raise ConnectionError("HTTPConnectionPool(http://ada:hunter2@mlflow:5000): Max retries exceeded")
        return getattr(self.client, name)


@pytest.fixture
def outage(tracker: tracking.MLflowTracker) -> Iterator[Outage]:
    broken = Outage(tracker._link.client)
    tracker._link.client = broken
    yield broken
    broken.down = False


def test_it_is_a_tracker(tracker: tracking.MLflowTracker) -> None:
    checked: Tracker = tracker
    assert checked.where.startswith("mlflow ui --backend-store-uri sqlite:////")


def test_params_metrics_and_tags_arrive(tracker: tracking.MLflowTracker) -> None:
    with tracker.run("compare", {"method": "hard(vog|class)", "keep": 0.5}, {"git sha": "abc"}) as run:
        run.metrics({"test_acc": 0.75, "kept_rows": 10}, step=3)
    stored = runs_of(tracker)["compare"]
    assert stored.data.params == {"method": "hard(vog|class)", "keep": "0.5"}
    assert stored.data.metrics == {"test_acc": 0.75, "kept_rows": 10.0}
    assert stored.data.tags["git sha"] == "abc"
    assert stored.info.status == "FINISHED"


def test_runs_are_nested_explicitly(tracker: tracking.MLflowTracker) -> None:
    with tracker.run("sweep", {}) as sweep, sweep.run("arm", {"seed": 0}) as arm:
        parent, child = sweep.run_id, arm.run_id
    runs = runs_of(tracker)
    assert runs["arm"].data.tags["mlflow.parentRunId"] == parent == runs["sweep"].info.run_id
    assert runs["arm"].info.run_id == child


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(15), "KILLED")],
)
def test_an_exception_ends_the_run_and_goes_on_up(
    tracker: tracking.MLflowTracker, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)), tracker.run("score", {}):
        raise error
    stored = runs_of(tracker)["score"]
    assert stored.info.status == status
    assert stored.data.tags["error"] == type(error).__name__


def test_numbers_that_are_not_finite_are_named_not_logged(tracker: tracking.MLflowTracker) -> None:
    with tracker.run("score", {}) as run:
        run.metrics({"nll": float("nan"), "loss": float("inf"), "acc": 1.0})
    stored = runs_of(tracker)["score"]
    assert stored.data.metrics == {"acc": 1.0}
    assert stored.data.tags["not_finite"] == "loss, nll"


def test_long_and_odd_and_many_values_fit(tracker: tracking.MLflowTracker) -> None:
    with tracker.run("score", {"long": "v" * 9000, **{f"p{i}": i for i in range(130)}}) as run:
        run.metrics({"recall|what?": 0.5})
    stored = runs_of(tracker)["score"].data
    assert len(stored.params["long"]) == 6000
    assert len(stored.params) == 131
    assert stored.metrics == {"recall_what_": 0.5}


def test_datasets_carry_our_fingerprint(tracker: tracking.MLflowTracker, tmp_path: Path) -> None:
    with tracker.run("sample", {}) as run:
        run.dataset("selection", str(tmp_path / "selection"), DIGEST, "training", {"parent": "pool"})
        run.dataset("pool", "s3://key:pass@bucket/pool", DIGEST, "scoring")
    stored = runs_of(tracker)["sample"]
    inputs = {entry.dataset.name: entry for entry in stored.inputs.dataset_inputs}
    assert inputs["selection"].dataset.digest == "sha256:" + "0123456789abcdef" * 1 + "01234567"
    tags = {tag.key: tag.value for tag in inputs["selection"].tags}
    assert tags == {"mlflow.data.context": "training", "sha256": DIGEST[7:], "parent": "pool"}
    assert stored.data.tags["sha256.training.selection"] == DIGEST[7:]
    assert json.loads(inputs["pool"].dataset.source) == {"uri": "s3://***@bucket/pool"}


def test_artifacts_lie_beside_the_database(tracker: tracking.MLflowTracker, tmp_path: Path) -> None:
    (tmp_path / "kept.parquet").mkdir()
    (tmp_path / "kept.parquet" / "part-0").write_text("rows")
    (tmp_path / "report.html").write_text("<p>")
    with tracker.run("report", {}) as run:
        run.artifact(str(tmp_path / "report.html"), "pages")
        run.artifact(str(tmp_path / "kept.parquet"), "pages")
        run_id = run.run_id
    stored = tmp_path / "artifacts" / str(run_id) / "artifacts" / "pages"
    assert (stored / "report.html").read_text() == "<p>"
    assert (stored / "kept.parquet" / "part-0").read_text() == "rows"


def test_a_second_open_finds_the_experiment_again(tracker: tracking.MLflowTracker, store: Path) -> None:
    again = tracking.open(f"sqlite:///{store}", "study")
    assert again._link._experiment_id == tracker._link._experiment_id


def test_a_fresh_store_is_made_in_silence(empty_store: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tracking.open(str(tmp_path / "new" / "mlflow.db"), "study")
    seen = capfd.readouterr()
    assert (seen.out, seen.err) == ("", "")
    assert (tmp_path / "new" / "mlflow.db").exists()


def test_an_unreachable_server_is_an_error_before_work(caplog: pytest.LogCaptureFixture) -> None:
    start = time.monotonic()
    with pytest.raises(StorageError, match=r"tracking\.enabled=false") as caught:
        tracking.open("http://ada:hunter2@127.0.0.1:9", "study")
    assert time.monotonic() - start < 15
    assert "127.0.0.1:9" in str(caught.value)
    assert "hunter2" not in str(caught.value) + caplog.text
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("uri", "advice"),
    [
        ("mlruns", "name a database file"),
        ("file:///tmp/mlruns", "name a database file"),
        ("sqlite:////proc/nowhere/mlflow.db", "check tracking.uri"),
        ("gopher://host", "check tracking.uri"),
    ],
)
def test_addresses_that_cannot_be_used(uri: str, advice: str) -> None:
    with pytest.raises(StorageError, match=advice):
        tracking.open(uri, "study")


def test_a_server_that_dies_midway_loses_nothing(
    tracker: tracking.MLflowTracker, outage: Outage, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    outage.down = False
    (tmp_path / "plan.json").write_text("{}")
    with tracker.run("sweep", {"seeds": 3}) as sweep:
        outage.down = True
        with sweep.run("arm", {"seed": 0}) as arm:
            arm.metrics({"acc": 0.5}, step=1)
            arm.dataset("pool", "pool", DIGEST, "training")
            arm.artifact(str(tmp_path / "plan.json"))
            assert arm.run_id is None
        kept = (tmp_path / "mlflow-pending.jsonl").read_text().splitlines()
        assert "mlflow-pending.jsonl" in tracker.where
        outage.down = False
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "hunter2" not in caplog.text
    assert len(kept) == 7  # start, params, metrics, data set, its tag, artifact, end
    runs = runs_of(tracker)
    assert runs["arm"].data.metrics == {"acc": 0.5}
    assert runs["arm"].data.tags["mlflow.parentRunId"] == runs["sweep"].info.run_id
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert not (tmp_path / "mlflow-pending.jsonl").exists()


def test_what_stays_undelivered_is_sent_by_the_next_run(
    tracker: tracking.MLflowTracker, outage: Outage, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tracker.run("score", {}) as run:
        run.metrics({"rows": 7})
    pending = store.parent / "mlflow-pending.jsonl"
    assert pending.exists()
    assert "still away" in caplog.text
    with pending.open("a") as stream:
        stream.write('{"do": "log", "cut off by a cra')
    later = tracking.open(str(store), "study")
    with later.run("sample", {}):
        pass
    assert runs_of(later)["score"].data.metrics == {"rows": 7.0}
    assert not pending.exists()


def test_a_refusal_is_a_warning_and_tracking_goes_on(
    tracker: tracking.MLflowTracker, caplog: pytest.LogCaptureFixture
) -> None:
    with tracker.run("score", {"seed": 1}) as run:
        run._log(params={"seed": "2"})
        run.artifact("there-is-no-such-file")
        run.metrics({"acc": 1.0})
    assert caplog.text.count("did not take") == 2
    assert runs_of(tracker)["score"].data.metrics == {"acc": 1.0}


def test_calls_outside_a_run_warn(tracker: tracking.MLflowTracker, caplog: pytest.LogCaptureFixture) -> None:
    tracker.metrics({"acc": 1.0})
    assert "outside a run" in caplog.text


def test_a_full_disk_does_not_fail_the_job(
    tracker: tracking.MLflowTracker, outage: Outage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with tracker.run("score", {}) as run:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))  # the system itself refuses every byte
            run.metrics({"acc": 1.0})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot keep 'log'" in caplog.text
    assert "File too large" in caplog.text


def test_limits_are_set_before_mlflow_is_used() -> None:
    assert "mlflow" in sys.modules
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "2"
