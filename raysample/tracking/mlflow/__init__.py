"""The MLflow tracker. `open` imports MLflow when called, so that importing this package is cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysample.core.lazy import lazy_names

if TYPE_CHECKING:
    from raysample.tracking.mlflow.tracker import open

__all__ = ["open"]

__getattr__, __dir__ = lazy_names(__name__, {"raysample.tracking.mlflow.tracker": ("open",)})
