"""A real sqlite store; made once, then copied, because a first use takes seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from raysample.tracking.mlflow import tracker as tracking


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    tracking.open(f"sqlite:///{file}", "other study")
    return file


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(empty_store, tmp_path / "mlflow.db"))
