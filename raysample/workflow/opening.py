"""Open a run folder: checks before expensive work, the lock, tracking, the executor."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from raysample.core import storage
from raysample.core.config import RunConfig
from raysample.core.errors import ConfigError
from raysample.core.extras import install_command, is_installed, require_extra
from raysample.core.locking import Lock, held
from raysample.core.progress import Reporter
from raysample.execution.create import create_executor
from raysample.tracking import TRACKER_REGISTRY, NullTracker, Tracker
from raysample.workflow import Pipeline, RunContext, RunFolder, preflight

TRACKING_URI = "MLFLOW_TRACKING_URI"


@contextmanager
def open_run(config: RunConfig, reporter: Reporter, *steps: str) -> Iterator[Pipeline]:
    """Lock the run folder, run all checks that are possible before expensive work, then open tracking.

    `steps` names the steps to be done, as in `preflight.check_preflight`.
    """
    _check_extras(config, reporter, steps)
    with hold_run_folder(config, reporter) as (run_folder, lock), create_executor(config.engine) as engine:
        preflight.check_preflight(config, run_folder, engine, steps, _given(config))
        yield Pipeline(config, RunContext(engine, reporter, _tracker(config, run_folder, lock)))


@contextmanager
def hold_run_folder(config: RunConfig, reporter: Reporter) -> Iterator[tuple[RunFolder, Lock]]:
    """Hold the lock of the run folder, which must belong to this configuration."""
    silence_libraries()
    run_folder = RunFolder.from_config(config)
    run_folder.check(config)
    with held(run_folder.root, config.lock_timeout, reporter.say) as lock:
        run_folder.check(config)  # another driver may have claimed the folder while this one waited
        yield run_folder, lock


def _given(config: RunConfig) -> str | None:
    """Return the configured tracking URI, or that of MLflow's environment variable, or None."""
    return config.tracking.uri or os.environ.get(TRACKING_URI) or None


def _check_extras(config: RunConfig, reporter: Reporter, steps: Collection[str]) -> None:
    """Raise MissingExtraError if tracking was requested and MLflow is missing; report steps that are skipped.

    Tracking and the report are on by default; without their libraries a base installation skips them.
    """
    requested = _given(config) is not None or "enabled" in config.tracking.model_fields_set
    by_mlflow = preflight.tracks_by_mlflow(config)
    if by_mlflow and requested:
        require_extra("mlflow", "tracking", "set tracking.enabled=false")
    if by_mlflow and not is_installed("mlflow"):
        reporter.say(f"MLflow is not installed, so this run is not tracked ({install_command('mlflow')})")
    if "compare" in steps and not is_installed("report"):
        reporter.say(f"matplotlib is not installed, so no report is written ({install_command('report')})")


def _tracker(config: RunConfig, run_folder: RunFolder, lock: Lock) -> Tracker:
    """Return the tracker of a run: MLflow, embedded or on a server, a plug-in, or none."""
    if not preflight.tracks_by_mlflow(config):
        return _plugin_tracker(config, run_folder) if config.tracking.enabled else NullTracker()
    if not is_installed("mlflow"):
        return NullTracker()
    from raysample.tracking.mlflow import tracker

    given = _given(config)
    if given is None and not storage.is_local(run_folder.root):
        raise ConfigError(
            f"the output {run_folder.root!r} is not a local folder, where an embedded MLflow could be kept",
            f"give tracking.uri (a server or a database), set {TRACKING_URI}, or set tracking.enabled=false",
        )
    local = Path(run_folder.root).parent
    uri = given or f"sqlite:///{local / 'mlflow.db'}"
    artifacts = None if given else str(local / "mlartifacts")
    return tracker.open(
        *(uri, config.tracking.experiment or config.name, artifacts, str(local / "mlflow-pending.jsonl")),
        folder=run_folder.root,
        gone=lock.gone,
    )


def _plugin_tracker(config: RunConfig, run_folder: RunFolder) -> Tracker:
    """Return the tracker of a plug-in."""
    make: Callable[..., Tracker] = TRACKER_REGISTRY.find(config.tracking.tracker)
    settings = config.tracking
    return make(uri=settings.uri, experiment=settings.experiment or config.name, folder=run_folder.root)


def silence_libraries() -> None:
    """Hide the libraries' messages below errors."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("transformers", "datasets", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
