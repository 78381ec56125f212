"""The MLflow tracker: one experiment per study, one run per command, nested runs below it.

Every call becomes a plain-data operation with its own time. If MLflow cannot take an operation because its server is
down or hangs, this and all later operations go to a JSONL file instead: one warning, one short delay, no lost value,
and the job goes on. When the outermost run ends, the file is sent again; refused operations go to another file, and the
rest is sent. Only `open` may fail, before expensive work.
"""

from __future__ import annotations

import json
import logging
import math
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# First: it sets how long MLflow may wait for a server.
from raysample.tracking.mlflow.settings import silence_mlflow  # isort: skip
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from raysample.core import storage
from raysample.core.errors import StorageError
from raysample.core.locking.processes import me
from raysample.tracking import Value
from raysample.tracking.mlflow import database
from raysample.tracking.mlflow import values as plain
from raysample.tracking.mlflow.connection import Link
from raysample.tracking.mlflow.orphans import DRIVER_TAG, FOLDER_TAG, close_orphans
from raysample.tracking.mlflow.pending import Operation, Pending
from raysample.tracking.mlflow.responses import failure_reason

_LOG = logging.getLogger(__name__)


def open(
    uri: str,
    experiment: str,
    artifact_root: str | None = None,
    pending: str | None = None,
    folder: str | None = None,
    gone: Collection[str] = (),
) -> MLflowTracker:
    """Connect to MLflow and create the experiment if it is new; a new SQLite file gets its tables here, once.

    Args:
        uri: `sqlite:///` with a file, a plain `*.db` path, `http(s)://...`, or another store that MLflow knows.
        experiment: its name.
        artifact_root: artifact folder of a new experiment; for sqlite the folder `artifacts` beside the file.
        pending: JSONL file for undelivered calls; by default `mlflow-pending.jsonl` beside the sqlite file, or here.
        folder: the run folder, locked by the caller; its runs get it as a tag, and RUNNING runs of dead drivers are
            ended.
        gone: drivers of other machines whose lock on the folder was taken over.

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
        with silence_mlflow():
            if file is not None:
                database.ensure(file, root or str(home / "artifacts"))
            client = MlflowClient(uri)
            experiment_id = _experiment(client, experiment, root)
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001 - SQLAlchemy, requests and MLflow raise kinds of their own
        # `from None`: the original message and traceback may hold the password that is in the URI.
        raise StorageError(
            f"cannot use MLflow at {plain.redact(uri)!r}: {failure_reason(error)}",
            "start the server or check tracking.uri, or go on without it: tracking.enabled=false",
        ) from None
    link = Link(client, experiment_id, Pending(Path(pending) if pending else home / "mlflow-pending.jsonl"))
    if folder is not None and (closed := close_orphans(client, experiment_id, folder, gone)):
        _LOG.warning("MLflow: %d runs of earlier drivers of %s, which are gone, are ended as KILLED", closed, folder)
    tags = {DRIVER_TAG: me()} if folder is None else {DRIVER_TAG: me(), FOLDER_TAG: folder}
    return MLflowTracker(link, plain.how_to_open(uri, experiment_id), tags)


class MLflowTracker:
    """A `Tracker` that records in MLflow without MLflow's global state; created by `open`."""

    def __init__(self, link: Link, where: str, tags: Mapping[str, str], run: str | None = None) -> None:
        self._link = link
        self._run = run
        self._where = where
        self._tags = tags

    @property
    def where(self) -> str:
        """Command or address that opens the tracked results, without credentials."""
        pending = self._link.pending
        return self._where + (f"; calls that MLflow did not take are in {pending.path}" if pending else "")

    @property
    def run_id(self) -> str | None:
        """MLflow's id of this run; None outside a run, or while MLflow is unreachable."""
        return self._link.ids.get(self._run or "")

    @contextmanager
    def run(
        self, name: str, params: Mapping[str, Value], tags: Mapping[str, str] | None = None
    ) -> Iterator[MLflowTracker]:
        """Open a run nested in this one: FINISHED when left normally, KILLED by Ctrl-C or SIGTERM, else FAILED."""
        child = MLflowTracker(self._link, self._where, self._tags, uuid.uuid4().hex)
        # Folder and driver are tags from the start: by them the next driver ends the runs of one that died.
        start = {"do": "start", "run": child._run, "parent": self._run, "name": name}
        self._link.do({**start, "tags": plain.tags_of(self._tags)})
        child._log(params=plain.params_of(params), tags=plain.tags_of(tags or {}))
        try:
            yield child
        except BaseException as error:
            # Ray's own SIGTERM handler, set by ray.init, raises SystemExit.
            status = "KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED"
            child._log(tags={"error": type(error).__name__})
            child._end(status, outermost=self._run is None)
            raise
        child._end("FINISHED", outermost=self._run is None)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics in one call; those that are not finite are named in the tag `not_finite` instead."""
        numbers = {plain.mlflow_name(name): float(value) for name, value in values.items()}
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        lost = ", ".join(sorted(numbers.keys() - finite.keys()))
        self._log(metrics=finite, tags=plain.tags_of({"not_finite": lost} if lost else {}), step=step or 0)

    def dataset(self, name: str, uri: str, digest: str, context: str, tags: Mapping[str, str] | None = None) -> None:
        """Log a corpus or selection as input. MLflow's digest holds 36 characters; the whole one becomes a tag."""
        whole = digest.removeprefix("sha256:")
        kind, source = plain.dataset_source(uri)
        labels = {"mlflow.data.context": context, "sha256": whole, **plain.tags_of(tags or {})}
        data = {"name": name, "digest": f"sha256:{whole[:24]}", "source_type": kind, "source": json.dumps(source)}
        self._do({"do": "dataset", "data": data, "labels": labels})
        self._log(tags={plain.mlflow_name(f"sha256.{context}.{name}"): whole})

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
        """Log non-empty params, metrics and tags as one operation."""
        parts = {"params": params, "metrics": metrics, "tags": tags}
        if any(parts.values()):
            self._do({"do": "log", **{kind: dict(part) for kind, part in parts.items() if part}, "step": step})

    def _end(self, status: str, outermost: bool) -> None:
        """End the run; the outermost run then delivers pending operations."""
        self._do({"do": "end", "status": status})
        if outermost:
            self._link.deliver()

    def _do(self, operation: Operation) -> None:
        """Apply an operation to this run; warns for a call outside a run."""
        if self._run is None:
            _LOG.warning("MLflow: a %s call came outside a run and was not tracked", operation["do"])
        else:
            self._link.do({**operation, "run": self._run})


def _experiment(client: Any, name: str, artifact_root: str | None) -> str:
    """Return the id of an experiment, created or restored if necessary."""
    existing = client.get_experiment_by_name(name)
    if existing is not None and existing.lifecycle_stage == "deleted":
        client.restore_experiment(existing.experiment_id)
    if existing is not None:
        return str(existing.experiment_id)
    try:
        return str(client.create_experiment(name, artifact_root))
    except MlflowException:
        existing = client.get_experiment_by_name(name)  # another driver created it at the same time
        if existing is None:
            raise
        return str(existing.experiment_id)
