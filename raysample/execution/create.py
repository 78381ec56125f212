"""The executor that a configuration names."""

from __future__ import annotations

from raysample.core.config import EngineConfig
from raysample.execution.base import Executor
from raysample.execution.local import LocalExecutor
from raysample.execution.ray.reachability import require_ray


def create_executor(config: EngineConfig | None) -> Executor:
    """Return the engine that a configuration names; Ray is imported only if it is asked for."""
    if config is None or config.kind == "local":
        return LocalExecutor()
    require_ray()
    from raysample.execution.ray.executor import RayExecutor

    return RayExecutor(config)
