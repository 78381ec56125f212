"""The MLflow tracker: one experiment per study, a run per verb, nested runs below it. The only importer of mlflow.

Every call becomes a plain-data operation with its own time. An operation that MLflow cannot take, because its server
has died or hangs, goes to a JSONL file instead, and so do all later ones: one warning, one short delay, no lost number,
and the job goes on. When the outermost run ends, the file is sent once more. Only `open` may fail, before expensive
work.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# A dead server blocked the first call for 247 s with MLflow's own 7 retries; these limits make it a few seconds.
for _name, _value in {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}.items():
    os.environ.setdefault(_name, _value)

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

from raysample import storage  # noqa: E402
from raysample.errors import StorageError  # noqa: E402
from raysample.tracking import Value, plain  # noqa: E402
from raysample.tracking.pending import Operation, Pending  # noqa: E402

_LOG = logging.getLogger(__name__)
_BATCH = {"metrics": 1000, "params": 100, "tags": 100}
_NOISY = ("mlflow", "alembic", "urllib3")


def open(uri: str, experiment: str, artifact_root: str | None = None, pending: str | None = None) -> MLflowTracker:
    """Connect to MLflow and make the experiment if it is new; a new sqlite file gets its tables here, once.

    Args:
        uri: `sqlite:///` with a file, a plain `*.db` path, `http(s)://...`, or another store that MLflow knows.
        experiment: its name.
        artifact_root: where a new experiment keeps files; for sqlite the folder `artifacts` beside the file.
        pending: the JSONL file for what MLflow could not take; `mlflow-pending.jsonl` beside the sqlite file, or here.

    Raises:
        StorageError: MLflow cannot be reached, or cannot use the address.

    """
    uri = plain.store_uri(uri)
    file = plain.sqlite_file(uri)
    home = Path.cwd() if file is None else file.parent
    if file is not None:
        artifact_root = artifact_root or str(home / "artifacts")
    root = None if artifact_root is None else storage.absolute(artifact_root)
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _quiet():
            client = MlflowClient(uri)
            experiment_id = _experiment(client, experiment, root)
    except Exception as error:  # noqa: BLE001 - SQLAlchemy, requests and MLflow raise kinds of their own
        # `from None`: the original message and traceback may hold the password that is in the URI.
        raise StorageError(
            f"cannot use MLflow at {plain.redact(uri)!r}: {_reason(error)}",
            "start the server or check tracking.uri, or go on without it: tracking.enabled=false",
        ) from None
    link = _Link(client, experiment_id, Pending(Path(pending) if pending else home / "mlflow-pending.jsonl"))
    return MLflowTracker(link, plain.how_to_open(uri, experiment_id))


class MLflowTracker:
    """A `Tracker` that keeps everything in MLflow, without MLflow's global state; made by `open`."""

    def __init__(self, link: _Link, where: str, run: str | None = None) -> None:
        self._link = link
        self._run = run
        self._where = where

    @property
    def where(self) -> str:
        """How a person opens what was tracked, without credentials."""
        pending = self._link.pending
        return self._where + (f"; calls that MLflow did not take are in {pending.path}" if pending else "")

    @property
    def run_id(self) -> str | None:
        """MLflow's id of this run; None outside a run, or while MLflow is away."""
        return self._link.ids.get(self._run or "")

    @contextmanager
    def run(
        self, name: str, params: Mapping[str, Value], tags: Mapping[str, str] | None = None
    ) -> Iterator[MLflowTracker]:
        """Open a run nested in this one: FINISHED when left normally, KILLED by Ctrl-C or SIGTERM, else FAILED."""
        child = MLflowTracker(self._link, self._where, uuid.uuid4().hex)
        self._link.do({"do": "start", "run": child._run, "parent": self._run, "name": name})
        child._log(params=plain.params_of(params), tags=plain.tags_of(tags or {}))
        try:
            yield child
        except BaseException as error:
            # Ray's own SIGTERM handler, set by ray.init, leaves by SystemExit.
            status = "KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED"
            child._log(tags={"error": type(error).__name__})
            child._end(status, outermost=self._run is None)
            raise
        child._end("FINISHED", outermost=self._run is None)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics in one call; those that are not finite are named in the tag `not_finite` instead."""
        numbers = {plain.name_of(name): float(value) for name, value in values.items()}
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        lost = ", ".join(sorted(numbers.keys() - finite.keys()))
        self._log(metrics=finite, tags=plain.tags_of({"not_finite": lost} if lost else {}), step=step or 0)

    def dataset(self, name: str, uri: str, digest: str, context: str, tags: Mapping[str, str] | None = None) -> None:
        """Log a corpus or selection as input. MLflow's digest holds 36 characters; the whole one becomes a tag."""
        whole = digest.removeprefix("sha256:")
        kind, source = plain.source_of(uri)
        labels = {"mlflow.data.context": context, "sha256": whole, **plain.tags_of(tags or {})}
        data = {"name": name, "digest": f"sha256:{whole[:24]}", "source_type": kind, "source": json.dumps(source)}
        self._do({"do": "dataset", "data": data, "labels": labels})
        self._log(tags={plain.name_of(f"sha256.{context}.{name}"): whole})

    def artifact(self, path: str, folder: str | None = None) -> None:
        """Store a local file with the current run."""
        self._do({"do": "artifact", "path": storage.absolute(path), "folder": folder})

    def _log(
        self,
        params: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        step: int = 0,
    ) -> None:
        parts = {"params": params, "metrics": metrics, "tags": tags}
        if any(parts.values()):
            self._do({"do": "log", **{kind: dict(part) for kind, part in parts.items() if part}, "step": step})

    def _end(self, status: str, outermost: bool) -> None:
        self._do({"do": "end", "status": status})
        if outermost:
            self._link.deliver()

    def _do(self, operation: Operation) -> None:
        if self._run is None:
            _LOG.warning("MLflow: a %s call came outside a run and was not tracked", operation["do"])
        else:
            self._link.do({**operation, "run": self._run})


class _Link:
    """The connection that a tree of trackers shares: applies operations, or keeps them in a file while MLflow is away.

    `ids` maps our own run keys to MLflow's ids: a run that is started while MLflow is away has no id until it is sent.
    """

    def __init__(self, client: Any, experiment_id: str, pending: Pending) -> None:
        self.client = client
        self.pending = pending
        self.ids: dict[str, str] = {}
        self.away = False
        self._experiment_id = experiment_id
        self._actions = {
            "start": self._start,
            "log": self._log,
            "dataset": self._dataset,
            "artifact": self._artifact,
            "end": self._end,
        }

    def do(self, operation: Operation) -> None:
        """Apply one operation now, or keep it; never raises an ordinary exception."""
        operation = {"at": int(time.time() * 1000), **operation}
        try:
            if not self.away:
                self._try(operation)
                return
        except Exception as error:  # noqa: BLE001 - tracking never fails the job
            self.away = True
            _LOG.warning("MLflow is away (%s); tracking goes on in %s", _reason(error), self.pending.path)
        known = {key: self.ids[key] for key in (operation["run"], operation.get("parent")) if key in self.ids}
        self.pending.append({**operation, "ids": known})

    def deliver(self) -> None:
        """Send what is pending, of this process or an earlier one. Operations keep their times: no point doubles."""
        if not self.pending:
            return
        stop = self.pending.deliver(self._send)
        self.away = stop is not None
        if stop is not None:
            _LOG.warning("MLflow is still away (%s); the calls stay in %s", _reason(stop), self.pending.path)

    def _send(self, operation: Operation) -> None:
        self.ids = {**operation.get("ids", {}), **self.ids}
        self._try(operation)

    def _try(self, operation: Operation) -> None:
        try:
            with _quiet():
                self._actions[operation["do"]](operation)
        except (MlflowException, LookupError, FileNotFoundError) as error:
            # An answer of "no" will be "no" again; everything else may be better later.
            if isinstance(error, MlflowException) and int(error.get_http_status_code()) != 400:
                raise
            _LOG.warning("MLflow did not take a %s call: %s", operation["do"], _reason(error))

    def _start(self, operation: Operation) -> None:
        parent = self.ids.get(operation["parent"] or "")
        tags = {"mlflow.parentRunId": parent} if parent else {}
        run = self.client.create_run(self._experiment_id, operation["at"], tags, operation["name"])
        self.ids[operation["run"]] = run.info.run_id

    def _log(self, operation: Operation) -> None:
        at, step = operation["at"], operation["step"]
        entries = {
            "params": [Param(name, value) for name, value in operation.get("params", {}).items()],
            "metrics": [Metric(name, value, at, step) for name, value in operation.get("metrics", {}).items()],
            "tags": [RunTag(name, value) for name, value in operation.get("tags", {}).items()],
        }
        while any(entries.values()):
            head = {kind: values[: _BATCH[kind]] for kind, values in entries.items()}
            self.client.log_batch(self.ids[operation["run"]], **head, synchronous=True)
            entries = {kind: values[_BATCH[kind] :] for kind, values in entries.items()}

    def _dataset(self, operation: Operation) -> None:
        labels = [InputTag(name, value) for name, value in operation["labels"].items()]
        self.client.log_inputs(self.ids[operation["run"]], [DatasetInput(Dataset(**operation["data"]), labels)])

    def _artifact(self, operation: Operation) -> None:
        if not Path(operation["path"]).exists():
            raise FileNotFoundError(operation["path"])
        self.client.log_artifact(self.ids[operation["run"]], operation["path"], operation["folder"])

    def _end(self, operation: Operation) -> None:
        self.client.set_terminated(self.ids[operation["run"]], operation["status"], operation["at"])


def _experiment(client: Any, name: str, artifact_root: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id if found else client.create_experiment(name, artifact_root))


def _reason(error: Exception) -> str:
    return plain.redact(f"{type(error).__name__}: {error}").splitlines()[0][:300]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the chatter of MLflow and its libraries (migrations, retries, deprecations inside SQLAlchemy models)."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
