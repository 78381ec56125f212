"""The MLflow tracker. `open` imports MLflow when called, so that importing this package is cheap."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysample.tracking.mlflow.tracker import open

__all__ = ["open"]


def __getattr__(name: str) -> Any:
    """Load `open` on first use."""
    if name not in __all__:
        raise AttributeError(f"module 'raysample.tracking.mlflow' has no attribute {name!r}")
    return getattr(importlib.import_module("raysample.tracking.mlflow.tracker"), name)
