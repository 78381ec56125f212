"""The executor that a configuration names."""

from __future__ import annotations

from collections.abc import Callable

from raysample.core.config import EngineConfig
from raysample.core.errors import ConfigError
from raysample.core.registry import Registry
from raysample.execution.base import Executor
from raysample.execution.local import LocalExecutor
from raysample.execution.ray.reachability import require_ray

LOCAL, RAY = "local", "ray"
EXECUTOR_REGISTRY: Registry[Executor] = Registry("executor", Executor, {}, ConfigError, also=(RAY, LOCAL))
"""Leads from `engine.kind` to the class of a plug-in; the executors of this package are made by `create_executor`."""


def create_executor(config: EngineConfig | None) -> Executor:
    """Return the executor that a configuration names; Ray is imported only if it is asked for.

    A plug-in is made as `Class(config)` and used as a context manager. Raises ConfigError where there is none.
    """
    if config is None or config.kind == LOCAL:
        return LocalExecutor()
    if config.kind != RAY:
        make: Callable[[EngineConfig], Executor] = EXECUTOR_REGISTRY.find(config.kind)
        return make(config)
    require_ray()
    from raysample.execution.ray.executor import RayExecutor

    return RayExecutor(config)
