"""`prune` on the command line: from a file of labelled texts to a smaller training set, without a configuration."""

from __future__ import annotations

import os
import warnings
from pathlib import PurePosixPath
from typing import Any, Literal

from raysample import api
from raysample.api.coercion import section
from raysample.core import storage
from raysample.core.config import EngineConfig
from raysample.core.errors import ConfigError, ResultWarning
from raysample.core.extras import require_extra
from raysample.core.progress import Reporter
from raysample.selection.race.decision import DECISION_FILE, Decision
from raysample.selection.race.decision_card import decision_card
from raysample.tracking import Tracker
from raysample.workflow.opening import TRACKING_URI, silence_libraries

EXPERIMENT = "prune"
"""MLflow experiment of pruned corpora."""


def run_prune(
    data: str,
    reporter: Reporter,
    keep: str,
    ray: str | None,
    tracking_uri: str | None,
    output: str | None,
    epochs: int,
    learning_rate: float,
    **options: Any,
) -> None:
    """Prune a file of labelled texts and print the card of the decision.

    Args:
        data: path of the texts.
        reporter: prints lines.
        keep: the share, or `auto`.
        ray: address of a Ray cluster; None runs in this process.
        tracking_uri: of MLflow; MLFLOW_TRACKING_URI by default. Without both, nothing is tracked.
        output: folder of the files; `runs/pruned/NAME` by default.
        epochs, learning_rate: of a training.
        options: see `raysample.prune`.
    """
    silence_libraries()
    folder = output or storage.join("runs", "pruned", PurePosixPath(data.rstrip("/")).stem)
    engine = section(EngineConfig, {"kind": "local"} if ray is None else {"kind": "ray", "address": ray})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResultWarning)  # they are told below, as lines
        tracker = _tracker(tracking_uri or os.environ.get(TRACKING_URI))
        how = {"recipe": {"epochs": epochs, "learning_rate": learning_rate}, "tracker": tracker, **options}
        api.prune(data, folder, keep=_share(keep), engine=engine, reporter=reporter, **how)
    decision = Decision.load(storage.join(folder, DECISION_FILE))
    for warning in decision.warnings:
        reporter.say(f"warning: {warning}")
    reporter.say()
    for title, line in decision_card(decision, data, folder):
        reporter.say(f"{title:<10} {line}")
    if tracker is not None:
        reporter.say(f"MLflow: {tracker.where}")


def _tracker(uri: str | None) -> Tracker | None:
    """Return the tracker at an MLflow address; None without one. Raises MissingExtraError without MLflow."""
    if uri is None:
        return None
    require_extra("mlflow", "tracking", "leave --tracking-uri and MLFLOW_TRACKING_URI out")
    from raysample.tracking.mlflow import tracker

    return tracker.open(uri, EXPERIMENT)


def _share(given: str) -> float | Literal["auto"]:
    """Return the share to keep as a number, or `auto`."""
    if given == "auto":
        return "auto"
    try:
        return float(given)
    except ValueError:
        raise ConfigError(f"--keep {given}: this is neither a share nor auto", "for example --keep 0.5") from None
