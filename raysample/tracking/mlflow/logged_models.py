"""Models logged by an MLflow run, as local folders: in place if they lie on this machine, else downloaded.

Nothing is unpickled: this module fetches folders, and other modules inspect them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

# First: it sets how long MLflow may wait for a server.
from raysample.tracking.mlflow.settings import silence_mlflow  # isort: skip
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from raysample.core.errors import CheckpointError, StorageError
from raysample.tracking.mlflow import values

_RUN = re.compile(r"(?:runs:/|mlflow:)([0-9a-f]{32})(?:/(.*?))?/?")
_MODEL = re.compile(r"models:/(m-[0-9a-f]+)")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
LoggedStep = int | None


@dataclass(frozen=True)
class FetchedModels:
    """Model folders of one run, in the order of their steps.

    Attributes:
        places: local folders.
        steps: training step of each; None if MLflow does not distinguish them.
        rates, epochs: the run's metrics `learning_rate` and `epoch` by step, as Hugging Face's callback logs them.
    """

    places: Sequence[str]
    steps: Sequence[int | None]
    rates: Mapping[int, float] = field(default_factory=dict)
    epochs: Mapping[int, float] = field(default_factory=dict)


def fetch_models(address: str, uri: str, folder: str) -> FetchedModels:
    """Return the models at an address as folders on this machine.

    Args:
        address: `runs:/RUN_ID` (the models that the run logged, or else its artifacts `checkpoint-*`),
            `runs:/RUN_ID/PATH` (the artifacts below a path), `models:/MODEL_ID`, `models:/NAME/VERSION`, or
            `models:/NAME@ALIAS`.
        uri: the tracking URI.
        folder: target folder for downloads.

    Raises:
        StorageError: MLflow cannot be reached or does not know the address.
        CheckpointError: the run has no model, or an incomplete one.
    """
    uri = values.store_uri(uri)
    with _explained(uri, address), silence_mlflow():
        client, run, model = MlflowClient(uri), _RUN.fullmatch(address), _MODEL.fullmatch(address)
        if run is not None:
            return _of_run(client, uri, run[1], run[2] or "", folder)
        if model is not None:
            where = client.get_logged_model(model[1]).artifact_location
            return FetchedModels([_local(where, uri, folder, model[1])], [None])
        # Copied even if local: MLflow writes a file of its own into model folders of the registry.
        return FetchedModels([_copied(address, uri, folder, address.partition("/")[2])], [None])


def _of_run(client: Any, uri: str, run_id: str, path: str, folder: str) -> FetchedModels:
    """Return the models of a run, with its learning rates and epochs."""
    run = client.get_run(run_id)
    listed = ([] if path else _models(client, run)) or _artifacts(client, run, path)
    if not listed:
        raise CheckpointError(
            f"the MLflow run {run_id} has no logged models, and {path or 'its artifacts'} no checkpoint-* folders",
            "log each checkpoint: mlflow.transformers.log_model(..., step=N) or log_artifacts(FOLDER, 'checkpoint-N')",
        )
    places = [_local(where, uri, folder, name) for _, name, where in listed]
    rates, epochs = (
        {metric.step: metric.value for metric in client.get_metric_history(run_id, name)}
        for name in ("learning_rate", "epoch")
    )
    return FetchedModels(places, [step for step, _, _ in listed], rates, epochs)


def _models(client: Any, run: Any) -> list[tuple[LoggedStep, str, str]]:
    """Return step, name and location of a run's logged models, ordered by step if the steps are distinct."""
    outputs = list(run.outputs.model_outputs) if run.outputs is not None else []
    known = [(output.step, client.get_logged_model(output.model_id)) for output in outputs]
    for _, model in known:
        if model.status != LoggedModelStatus.READY:
            raise CheckpointError(
                f"the logged model {model.name!r} ({model.model_id}) was not logged to its end",
                "delete it in MLflow, or log it again",
            )
    steps = [step for step, _ in known]
    distinct_steps = len(set(steps)) == len(steps) and 0 not in steps
    known.sort(key=lambda one: one[0] if distinct_steps else one[1].creation_timestamp)
    return [
        (step if distinct_steps else _named(model.name), model.model_id, model.artifact_location)
        for step, model in known
    ]


def _artifacts(client: Any, run: Any, path: str) -> list[tuple[LoggedStep, str, str]]:
    """Return step, name and location of a run's artifact folders `checkpoint-*`, or of the folder at `path`."""
    folders = [item.path for item in client.list_artifacts(run.info.run_id, path or None) if item.is_dir]
    checkpoints = sorted((name for name in folders if _named(name) is not None), key=lambda name: _named(name) or 0)
    names = checkpoints or ([path] if path and folders != [path] else [])
    root = run.info.artifact_uri.rstrip("/")
    return [(_named(name), f"{run.info.run_id}-{name}", f"{root}/{name}") for name in names]


def _named(name: str) -> LoggedStep:
    """Return the step in a folder name `checkpoint-STEP`, None for other names."""
    match = _CHECKPOINT.fullmatch(name.rpartition("/")[2])
    return int(match[1]) if match else None


def _local(where: str, uri: str, folder: str, name: str) -> str:
    """Return a model's local folder; a remote one is copied below `folder`."""
    if where.startswith(("/", "file:")):
        return str(Path(unquote(urlparse(where).path) if where.startswith("file:") else where))
    return _copied(where, uri, folder, name)


def _copied(where: str, uri: str, folder: str, name: str) -> str:
    """Download a model folder below `folder` and return its path."""
    target = Path(folder) / re.sub(r"[^\w.-]", "_", name)
    downloaded = download_artifacts(artifact_uri=where, dst_path=str(target), tracking_uri=uri)
    return str(Path(downloaded).absolute())


@contextmanager
def _explained(uri: str, address: str) -> Iterator[None]:
    """Turn MLflow's exceptions into a StorageError without credentials."""
    try:
        yield
    except CheckpointError:
        raise
    except MlflowException as error:
        reason = values.redact(str(error)).partition("\n")[0]
        raise StorageError(
            f"MLflow at {values.redact(uri)!r} does not give {address!r}: {reason}",
            "check the id, and the tracking URI (--tracking-uri, or MLFLOW_TRACKING_URI)",
        ) from None
