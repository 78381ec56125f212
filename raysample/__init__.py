"""raysample: find out which training examples matter, sample by it, and prove that the sample is as good.

The verbs (`describe`, `compact`, `fine_tune`, `score`, `expand`, `verify`, `sample`) take and return the nouns
`Corpus`, `Contents`, `CheckpointSet`, `ScoreTable` and `Selection`. They are loaded when first used: importing the
package is cheap and imports neither Ray nor MLflow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from raysample.version import __version__

if TYPE_CHECKING:
    from raysample.checkpoints import CheckpointSet
    from raysample.contents import Contents
    from raysample.corpus import Corpus
    from raysample.selection import Selection
    from raysample.table import ScoreTable
    from raysample.verbs import adopt, compact, describe, expand, fine_tune, sample, score, verify

_HOMES = {
    "CheckpointSet": "raysample.checkpoints",
    "Contents": "raysample.contents",
    "Corpus": "raysample.corpus",
    "ScoreTable": "raysample.table",
    "Selection": "raysample.selection",
    "adopt": "raysample.verbs",
    "compact": "raysample.verbs",
    "describe": "raysample.verbs",
    "expand": "raysample.verbs",
    "fine_tune": "raysample.verbs",
    "sample": "raysample.verbs",
    "score": "raysample.verbs",
    "verify": "raysample.verbs",
}

__all__ = [
    "CheckpointSet",
    "Contents",
    "Corpus",
    "ScoreTable",
    "Selection",
    "__version__",
    "adopt",
    "compact",
    "describe",
    "expand",
    "fine_tune",
    "sample",
    "score",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'raysample' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
