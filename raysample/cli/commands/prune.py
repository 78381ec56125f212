"""`prune` on the command line: from a file of labelled texts to a smaller training set, without a configuration."""

from __future__ import annotations

import warnings
from pathlib import PurePosixPath
from typing import Any, Literal

from raysample import api
from raysample.api.coercion import section
from raysample.core import storage
from raysample.core.config import EngineConfig
from raysample.core.errors import ConfigError, ResultWarning
from raysample.core.progress import Reporter
from raysample.selection.race.decision import DECISION_FILE, Decision, decision_card
from raysample.workflow.opening import silence_libraries


def run_prune(data: str, reporter: Reporter, keep: str, ray: str | None, output: str | None, **options: Any) -> None:
    """Prune a file of labelled texts and print the card of the decision.

    Args:
        data: path of the texts.
        reporter: prints lines.
        keep: the share, or `auto`.
        ray: address of a Ray cluster; None runs in this process.
        output: folder of the files; `runs/pruned/NAME` by default.
        options: see `raysample.prune`.
    """
    silence_libraries()
    folder = output or storage.join("runs", "pruned", PurePosixPath(data.rstrip("/")).stem)
    engine = section(EngineConfig, {"kind": "local"} if ray is None else {"kind": "ray", "address": ray})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResultWarning)  # they are told below, as lines
        api.prune(data, folder, keep=_share(keep), engine=engine, reporter=reporter, **options)
    decision = Decision.load(storage.join(folder, DECISION_FILE))
    for warning in decision.warnings:
        reporter.say(f"warning: {warning}")
    reporter.say()
    for title, line in decision_card(decision, data, folder):
        reporter.say(f"{title:<10} {line}")


def _share(given: str) -> float | Literal["auto"]:
    """Return the share to keep as a number, or `auto`."""
    if given == "auto":
        return "auto"
    try:
        return float(given)
    except ValueError:
        raise ConfigError(f"--keep {given}: this is neither a share nor auto", "for example --keep 0.5") from None
