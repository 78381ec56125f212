"""raysample: find out which training examples matter, sample by it, and prove that the sample is as good.

`prune` does the whole way from labelled texts to a smaller training set. The functions `describe`, `compact`,
`fine_tune`, `score`, `expand`, `verify` and `sample` do its steps one by one: they take and return the artifacts
`Corpus`, `Contents`, `CheckpointSet`, `ScoreTable` and `Selection`; `config` has the sections of a configuration. Names
are loaded when first used: importing the package is cheap and imports neither Ray nor MLflow. Plug-ins derive from
`Score`, `Policy`, `Tracker` or `Executor`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysample.core.lazy import lazy_names
from raysample.version import __version__

if TYPE_CHECKING:
    from raysample.api import adopt, compact, describe, expand, fine_tune, prune, sample, score, verify
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
    "prune",
    "sample",
    "score",
    "verify",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "raysample.api": ("adopt", "compact", "describe", "expand", "fine_tune", "prune", "sample", "score", "verify"),
        "raysample.core": ("config",),
        "raysample.data.checkpoint_set": ("CheckpointSet",),
        "raysample.data.corpus": ("Corpus",),
        "raysample.data.log": ("Contents",),
        "raysample.data.score_table": ("ScoreTable",),
        "raysample.execution.base": ("Executor",),
        "raysample.influence.scores": ("Score",),
        "raysample.selection": ("Selection",),
        "raysample.selection.policies": ("Policy",),
        "raysample.tracking": ("Tracker",),
    },
)
