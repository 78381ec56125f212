"""The executor that a configuration names."""

from __future__ import annotations

from raysample.core.config import EngineConfig
from raysample.execution.base import Engine
from raysample.execution.local import LocalEngine


def engine_of(config: EngineConfig | None) -> Engine:
    """Return the engine that a configuration names; Ray is imported only if it is asked for."""
    if config is None or config.kind == "local":
        return LocalEngine()
    from raysample.execution.ray.executor import RayEngine

    return RayEngine(config)
