"""raysample: find out which training examples matter, sample by it, and prove that the sample is as good.

The functions `describe`, `compact`, `fine_tune`, `score`, `expand`, `verify` and `sample` take and return the artifacts
`Corpus`, `Contents`, `CheckpointSet`, `ScoreTable` and `Selection`; `config` has the sections of a configuration. Names
are loaded when first used: importing the package is cheap and imports neither Ray nor MLflow. Plug-ins derive from
`Score`, `Policy`, `Tracker` or `Executor`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from raysample.version import __version__

if TYPE_CHECKING:
    from raysample.api import adopt, compact, describe, expand, fine_tune, sample, score, verify
    from raysample.core import config
    from raysample.data.checkpoint_set import CheckpointSet
    from raysample.data.corpus import Corpus
    from raysample.data.log import Contents
    from raysample.data.score_table import ScoreTable
    from raysample.execution.base import Executor
    from raysample.influence.scores import Score
    from raysample.selection import Selection
    from raysample.selection.policies import Policy
    from raysample.tracking import Tracker

_HOMES = {
    "CheckpointSet": "raysample.data.checkpoint_set",
    "Contents": "raysample.data.log",
    "Corpus": "raysample.data.corpus",
    "Executor": "raysample.execution.base",
    "Policy": "raysample.selection.policies",
    "Score": "raysample.influence.scores",
    "ScoreTable": "raysample.data.score_table",
    "Selection": "raysample.selection",
    "Tracker": "raysample.tracking",
    "adopt": "raysample.api",
    "compact": "raysample.api",
    "describe": "raysample.api",
    "expand": "raysample.api",
    "fine_tune": "raysample.api",
    "sample": "raysample.api",
    "score": "raysample.api",
    "verify": "raysample.api",
}

__all__ = [
    "CheckpointSet",
    "Contents",
    "Corpus",
    "Executor",
    "Policy",
    "Score",
    "ScoreTable",
    "Selection",
    "Tracker",
    "__version__",
    "adopt",
    "compact",
    "config",
    "describe",
    "expand",
    "fine_tune",
    "sample",
    "score",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "config":
        return importlib.import_module("raysample.core.config")
    if name not in _HOMES:
        raise AttributeError(f"module 'raysample' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names, loaded or not, for tab completion."""
    return sorted({*globals(), *__all__})
