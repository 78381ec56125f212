"""A package of plug-ins from outside the tree, written to a folder with the entry points of an installed package."""

from __future__ import annotations

from pathlib import Path

PLUGINS = '''"""Plug-ins."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from raysample.execution.local import LocalExecutor
from raysample.influence.scores import LAST, CheckpointWindow, MeanScore, Score
from raysample.selection.policies.ranked import Ranked
from raysample.tracking import MemoryTracker

HALF = 0.5


@dataclass(frozen=True)
class Doubt(MeanScore):
    """Doubt: mean over the checkpoints of 1 - max_c p_c, to a power.

    Range [0, 1 - 1/C]; high is harder. Designed for: the trained model. Source: a test.
    """

    name: ClassVar[str] = "doubt"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"
    uses_label: ClassVar[bool] = False
    label_error_rank: ClassVar[int] = 9
    version: ClassVar[str] = "VERSION"

    checkpoints: CheckpointWindow = LAST
    squared: bool = False

    def at_checkpoint(self, seen):
        doubt = 1 - seen.logits.softmax(1).amax(1)
        return doubt.square() if self.squared else doubt


@dataclass(frozen=True)
class Nearest(Ranked):
    """The rows whose score is nearest to 0.3."""

    @property
    def keeps(self):
        return "harder"

    def key(self, rows, facts):
        return -np.abs(rows.scores[self.score] - np.float32(0.3))


class Unfinished(Score):
    """A score without its methods."""


class Numbered(Doubt):
    """A score whose version is a number."""

    version = 2


class ListTracker(MemoryTracker):
    """Keeps what it is told, and how it was made."""

    made: ClassVar[list[Any]] = []

    def __init__(self, uri=None, experiment="", folder=""):
        super().__init__()
        self.made.append((uri, experiment, folder, self))


class CountingExecutor(LocalExecutor):
    """Works in this process and counts the scorings."""

    scorings: ClassVar[list[Any]] = []

    def __init__(self, config):
        self.config = config

    def score(self, job, shards, workers, reporter):
        self.scorings.append(len(shards))
        yield from super().score(job, shards, workers, reporter)
'''

ENTRY_POINTS = """[raysample.scores]
doubt-by-entry-point = NAME.plugins:Doubt

[raysample.policies]
nearest-by-entry-point = NAME.plugins:Nearest
"""


def write_package(folder: Path, version: str = "3", name: str = "outside") -> None:
    """Write the package `name` with plug-ins of a version into a folder, and what pip leaves beside it."""
    package, info = folder / name, folder / f"{name}-1.0.dist-info"
    package.mkdir(parents=True, exist_ok=True)
    info.mkdir(exist_ok=True)
    (package / "__init__.py").write_text(f"from {name}.plugins import Doubt\n")
    (package / "plugins.py").write_text(PLUGINS.replace("VERSION", version))
    (package / "broken.py").write_text("raise RuntimeError('this module never loads')\n")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS.replace("NAME", name))
