"""Errors that come back from workers: ours as they were raised, Ray's as what a user can do about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

from raysample.core.errors import RaysampleError

Otherwise = Callable[[BaseException], RaysampleError]


def failure_cause(error: BaseException, otherwise: Otherwise) -> RaysampleError:
    """Return our own error that lies behind one of Ray's, or what `otherwise` makes of it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, RaysampleError):
            return seen
        seen = getattr(seen, "cause", None) or seen.__cause__
    return otherwise(error)


def result(reference: Any, otherwise: Otherwise) -> Any:
    """Return what a task returned; raises our own error behind its failure, or what `otherwise` makes of it."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        raise failure_cause(error, otherwise) from error
