"""`adopt` on the command line: checkpoints in folders, or logged by an MLflow run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from raysample.cli.tables import adoption_table
from raysample.core import storage
from raysample.core.errors import ConfigError
from raysample.core.extras import require_extra
from raysample.core.progress import Reporter
from raysample.training import importing
from raysample.training.importing.find import Found, find
from raysample.workflow.opening import silence_libraries

OURS = Path("runs/mlflow.db")
"""Default MLflow database."""


def run_adopt(
    paths: Sequence[str],
    reporter: Reporter,
    output: str | None = None,
    labels: str | None = None,
    learning_rates: str | None = None,
    tracking_uri: str | None = None,
) -> None:
    """Adopt checkpoints as a CheckpointSet, and print how to use it.

    Args:
        paths: folders, or MLflow addresses.
        reporter: prints lines and tables.
        output: folder of the set; `runs/adopted/NAME` by default.
        labels: class names in the order of the outputs, with commas between them.
        learning_rates: one per checkpoint, or one for all, separated by commas.
        tracking_uri: MLflow's tracking URI; MLFLOW_TRACKING_URI, or `runs/mlflow.db`, by default.
    """
    silence_libraries()
    folder = output or storage.join("runs", "adopted", PurePosixPath(paths[0].rstrip("/")).name)
    found = [one for path in paths for one in _found(path, folder, tracking_uri)]
    checkpoint_set = importing.adopt_found(
        found,
        storage.absolute(folder),
        origin=paths,
        labels=None if labels is None else [name.strip() for name in labels.split(",")],
        learning_rates=None if learning_rates is None else _numbers(learning_rates),
    )
    reporter.console.print(adoption_table(checkpoint_set))
    reporter.say(f"classes: {', '.join(checkpoint_set.labels)}")
    reporter.say(f"checkpoints: {checkpoint_set.uri}")
    reporter.say(f"to score a corpus with them: raysample score CONFIG.yaml adopt.path={folder}")


def _found(path: str, folder: str, tracking_uri: str | None) -> list[Found]:
    """Return the checkpoints at a folder or MLflow address."""
    return _brought(path, folder, tracking_uri) if importing.is_address(path) else find(path)


def _brought(address: str, folder: str, tracking_uri: str | None) -> list[Found]:
    """Return the checkpoints of an MLflow address, downloaded if remote."""
    require_extra("mlflow", f"the address {address!r}", "give a folder")
    from raysample.tracking.mlflow.logged_models import fetch_models

    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or (str(OURS) if OURS.exists() else None)
    if uri is None:
        raise ConfigError(
            f"nobody says where the MLflow of {address!r} is", "give --tracking-uri, or set MLFLOW_TRACKING_URI"
        )
    models = fetch_models(address, uri, storage.join(storage.absolute(folder), "models"))
    schedule = importing.Schedule(models.rates, models.epochs) if models.rates or models.epochs else None
    result = list[Found]()
    for place, step in zip(models.places, models.steps, strict=True):
        for one in find(place):
            known = one.step if one.schedule is not None else step
            result.append(replace(one, step=known, schedule=one.schedule or schedule))
    return result


def _numbers(given: str) -> list[float]:
    """Return comma-separated numbers."""
    try:
        return [float(number) for number in given.split(",")]
    except ValueError as error:
        raise ConfigError(f"--learning-rates {given}: these are no numbers", "for example 5e-5,2.5e-5") from error
