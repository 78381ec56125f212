"""Opening a run's folder: what can be checked before anything expensive starts, the lock, tracking, the cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from raysample.core import storage
from raysample.core.config import RunConfig
from raysample.core.errors import ConfigError
from raysample.core.extras import install_command, is_installed, require
from raysample.core.locking import Lock, held
from raysample.core.progress import Reporter
from raysample.execution.create import create_executor
from raysample.tracking import TRACKER_REGISTRY, NullTracker, Tracker
from raysample.workflow import Pipeline, RunContext, Workspace, preflight

TRACKING_URI = "MLFLOW_TRACKING_URI"


@contextmanager
def open_run(config: RunConfig, reporter: Reporter, *steps: str) -> Iterator[Pipeline]:
    """As the only writer of the folder, check what can be checked before anything expensive; then open tracking.

    `steps` names what will be done, as in `pipeline.preflight`.
    """
    _check_extras(config, reporter, steps)
    with hold_run_folder(config, reporter) as (space, lock), create_executor(config.engine) as engine:
        preflight.check_preflight(config, space, engine, steps, _given(config))
        yield Pipeline(config, RunContext(engine, reporter, _tracker(config, space, lock)))


@contextmanager
def hold_run_folder(config: RunConfig, reporter: Reporter) -> Iterator[tuple[Workspace, Lock]]:
    """Be the only writer of the run's folder, which belongs to this configuration."""
    silence_libraries()
    space = Workspace.of(config)
    space.check(config)
    with held(space.root, config.lock_timeout, reporter.say) as lock:
        space.check(config)  # who wrote it before may have made it its own
        yield space, lock


def _given(config: RunConfig) -> str | None:
    """Return the tracking URI that somebody gave: MLflow's own variable is followed as all its tools do."""
    return config.tracking.uri or os.environ.get(TRACKING_URI) or None


def _check_extras(config: RunConfig, reporter: Reporter, steps: Collection[str]) -> None:
    """Refuse a configuration that asks for MLflow where it is not installed; say what a run will go without.

    Tracking and the report are on by default, and a base installation has neither library: it works without them.
    """
    asked = _given(config) is not None or "enabled" in config.tracking.model_fields_set
    by_mlflow = preflight.tracks_by_mlflow(config)
    if by_mlflow and asked:
        require("mlflow", "tracking", "set tracking.enabled=false")
    if by_mlflow and not is_installed("mlflow"):
        reporter.say(f"MLflow is not installed, so this run is not tracked ({install_command('mlflow')})")
    if "compare" in steps and not is_installed("report"):
        reporter.say(f"matplotlib is not installed, so no report is written ({install_command('report')})")


def _tracker(config: RunConfig, space: Workspace, lock: Lock) -> Tracker:
    if not preflight.tracks_by_mlflow(config):
        return _plugin_tracker(config, space) if config.tracking.enabled else NullTracker()
    if not is_installed("mlflow"):
        return NullTracker()
    from raysample.tracking.mlflow import tracker

    given = _given(config)
    if given is None and not storage.is_local(space.root):
        raise ConfigError(
            f"the output {space.root!r} is not a local folder, where an embedded MLflow could be kept",
            f"give tracking.uri (a server or a database), set {TRACKING_URI}, or set tracking.enabled=false",
        )
    local = Path(space.root).parent
    uri = given or f"sqlite:///{local / 'mlflow.db'}"
    artifacts = None if given else str(local / "mlartifacts")
    return tracker.open(
        *(uri, config.tracking.experiment or config.name, artifacts, str(local / "mlflow-pending.jsonl")),
        folder=space.root,
        gone=lock.gone,
    )


def _plugin_tracker(config: RunConfig, space: Workspace) -> Tracker:
    make: Callable[..., Tracker] = TRACKER_REGISTRY.find(config.tracking.tracker)
    settings = config.tracking
    return make(uri=settings.uri, experiment=settings.experiment or config.name, folder=space.root)


def silence_libraries() -> None:
    """Keep libraries' chatter off the terminal; their warnings stay in their logs."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("transformers", "datasets", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
