"""The connection to MLflow shared by a tree of trackers: each call is sent, kept for later, or refused for good."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# First: it sets how long MLflow may wait for a server.
from raysample.tracking.mlflow.settings import silence_mlflow  # isort: skip
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

from raysample.tracking.mlflow.pending import Operation, Pending
from raysample.tracking.mlflow.responses import Answer, answer, failure_reason

_LOG = logging.getLogger(__name__)
_BATCH = {"metrics": 1000, "params": 100, "tags": 100}


class Link:
    """Applies operations, or stores them in a file while MLflow is unreachable; refused ones go to another file.

    Attributes:
        ids: raysample's run keys -> MLflow's run ids: a run that starts while MLflow is unreachable has no id until its
            start is delivered.
        away: whether MLflow was unreachable at the last call; then every call goes to the file, which keeps the order.
    """

    def __init__(self, client: Any, experiment_id: str, pending: Pending) -> None:
        self.client = client
        self.pending = pending
        self.ids: dict[str, str] = {}
        self.away = False
        self._experiment_id = experiment_id
        self._gone = set[str]()
        self._actions: Mapping[str, Callable[[Operation], None]] = {
            "start": self._start,
            "log": self._log,
            "dataset": self._dataset,
            "artifact": self._artifact,
            "end": self._end,
        }

    def do(self, operation: Operation) -> None:
        """Apply one operation now, or store it; never raises an ordinary exception."""
        operation = {"at": int(time.time() * 1000), "experiment": self._experiment_id, **operation}
        try:
            if not self.away:
                self._try(operation)
                return
        except Exception as error:  # noqa: BLE001 - tracking never fails the job
            self.away = True
            _LOG.warning("MLflow is away (%s); tracking goes on in %s", failure_reason(error), self.pending.path)
        # MLflow's run ids are stored with the operation: another process may deliver it.
        known = {key: self.ids[key] for key in (operation["run"], operation.get("parent")) if key in self.ids}
        self.pending.append({**operation, "ids": known})

    def deliver(self) -> None:
        """Send pending operations. They keep their times, so that sending one twice does no harm."""
        if not self.pending:
            self.away = False
            return
        stop = self.pending.deliver(self._send)
        self.away = stop is not None
        if stop is not None:
            _LOG.warning("MLflow is still away (%s); the calls stay in %s", failure_reason(stop), self.pending.path)

    def _send(self, operation: Operation) -> None:
        """Apply a pending operation, with the run ids that were known when it was stored."""
        ids = operation.get("ids")
        if isinstance(ids, dict):
            self.ids = {**ids, **self.ids}
        self._try(operation)

    def _try(self, operation: Operation) -> None:
        """Apply an operation, or record it as refused; raises errors that may pass later."""
        run = str(operation.get("run"))
        if run in self._gone:
            self.pending.put_aside(operation, "the run is gone")
            return
        try:
            with silence_mlflow():
                self._actions[operation["do"]](operation)
        except Exception as error:
            verdict = answer(error)
            if verdict is Answer.AWAY:
                raise
            self.pending.put_aside(operation, failure_reason(error))
            what, where = operation.get("do"), self.pending.aside
            if verdict is Answer.GONE or what == "start":
                self._gone.add(run)
                _LOG.warning(
                    "MLflow did not take a %s call, nor will it take others of the run %s: %s; they are kept in %s",
                    *(what, self.ids.get(run, run), failure_reason(error), where),
                )
            else:
                _LOG.warning("MLflow did not take a %s call: %s; it is kept in %s", what, failure_reason(error), where)

    def _start(self, operation: Operation) -> None:
        """Create a run, under its parent's MLflow id, with the tags of its driver."""
        parent = self.ids.get(operation["parent"] or "")
        tags = {**operation.get("tags", {}), **({"mlflow.parentRunId": parent} if parent else {})}
        experiment = operation.get("experiment", self._experiment_id)
        run = self.client.create_run(experiment, operation["at"], tags, operation["name"])
        self.ids[operation["run"]] = run.info.run_id

    def _log(self, operation: Operation) -> None:
        """Log params, metrics and tags in batches within MLflow's limits."""
        at, step = operation["at"], operation["step"]
        entries = {
            "params": [Param(name, value) for name, value in operation.get("params", {}).items()],
            "metrics": [Metric(name, value, at, step) for name, value in operation.get("metrics", {}).items()],
            "tags": [RunTag(name, value) for name, value in operation.get("tags", {}).items()],
        }
        # log_batch has limits per kind; `synchronous` so that a failure is raised here.
        while any(entries.values()):
            head = {kind: values[: _BATCH[kind]] for kind, values in entries.items()}
            self.client.log_batch(self.ids[operation["run"]], **head, synchronous=True)
            entries = {kind: values[_BATCH[kind] :] for kind, values in entries.items()}

    def _dataset(self, operation: Operation) -> None:
        """Log a dataset input."""
        labels = [InputTag(name, value) for name, value in operation["labels"].items()]
        self.client.log_inputs(self.ids[operation["run"]], [DatasetInput(Dataset(**operation["data"]), labels)])

    def _artifact(self, operation: Operation) -> None:
        """Upload a file; raises FileNotFoundError, a final refusal, if the file no longer exists."""
        if not Path(operation["path"]).exists():
            raise FileNotFoundError(operation["path"])
        self.client.log_artifact(self.ids[operation["run"]], operation["path"], operation["folder"])

    def _end(self, operation: Operation) -> None:
        """Set a run's final status and end time."""
        self.client.set_terminated(self.ids[operation["run"]], operation["status"], operation["at"])
