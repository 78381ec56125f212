"""Configurations of small runs."""

from __future__ import annotations

from pathlib import Path

import yaml


def write_config(folder: Path, small_run: Path, **changes: object) -> Path:
    data = {
        "name": "small",
        "output": str(folder / "runs"),
        "corpus": {
            "columns": {"id": "id"},
            "train": {"path": str(small_run / "train.parquet")},
            "test": {"path": str(small_run / "test.parquet")},
        },
        "model": {"hidden_size": 16, "vocabulary_size": 200, "max_length": 16},
        "fine_tune": {"epochs": 2, "learning_rate": 3e-3, "checkpoints": 3},
        "score": {"scores": ["vog", "el2n"]},
        "compare": {"seeds": [0, 1], "arms": [{"policy": "hard", "score": "vog", "normalise": "class"}]},
        "engine": {"kind": "local"},
        "tracking": {"enabled": False},
        **changes,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(data))
    return path
