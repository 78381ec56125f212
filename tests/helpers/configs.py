"""Configurations of small runs in this process, on the corpus of the fixture `small_run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def small_corpus(small_run: Path, **changes: object) -> dict[str, Any]:
    """Return the section `corpus` of a small run."""
    return {
        "columns": {"id": "id"},
        "train": {"path": str(small_run / "train.parquet")},
        "test": {"path": str(small_run / "test.parquet")},
        **changes,
    }


def small_config(folder: Path, small_run: Path, **changes: object) -> dict[str, Any]:
    """Return the configuration of a run that takes seconds; `changes` replace whole sections."""
    return {
        "name": "small",
        "output": str(folder / "runs"),
        "corpus": small_corpus(small_run),
        "model": {"hidden_size": 16, "vocabulary_size": 200, "max_length": 16},
        "fine_tune": {"epochs": 2, "learning_rate": 3e-3, "checkpoints": 3},
        "score": {"scores": ["vog", "el2n"]},
        "compare": {"seeds": [0, 1], "arms": [{"policy": "hard", "score": "vog", "normalise": "class"}]},
        "engine": {"kind": "local"},
        "tracking": {"enabled": False},
        **changes,
    }


def write_config(folder: Path, small_run: Path, **changes: object) -> Path:
    """Write the configuration of a small run, and return its path."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(small_config(folder, small_run, **changes)))
    return path
