"""Errors from workers: raysample's own as they were raised, Ray's as errors with advice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

from raysample.core.errors import RaysampleError

Otherwise = Callable[[BaseException], RaysampleError]


def failure_cause(error: BaseException, otherwise: Otherwise) -> RaysampleError:
    """Return raysample's own error in the cause chain of one of Ray's errors, or `otherwise(error)`."""
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, RaysampleError):
            return current
        current = getattr(current, "cause", None) or current.__cause__
    return otherwise(error)


def result(reference: Any, otherwise: Otherwise) -> Any:
    """Return the result of a task; raises raysample's own error behind a failure, or `otherwise(error)`."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        raise failure_cause(error, otherwise) from error
