"""Errors from workers: raysample's own as they were raised, Ray's as errors with advice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

from raysample.core.errors import RaysampleError

Otherwise = Callable[[BaseException], RaysampleError]


def own_error(failure: BaseException | None) -> RaysampleError | None:
    """Return raysample's own error in the cause chain of a failure; None if there is none."""
    while failure is not None and not isinstance(failure, RaysampleError):
        failure = getattr(failure, "cause", None) or failure.__cause__
    return failure


def failure_cause(error: BaseException, otherwise: Otherwise) -> RaysampleError:
    """Return raysample's own error in the cause chain of one of Ray's errors, or `otherwise(error)`."""
    return own_error(error) or otherwise(error)


def result(reference: Any, otherwise: Otherwise) -> Any:
    """Return the result of a task; raises raysample's own error behind a failure, or `otherwise(error)`."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        raise failure_cause(error, otherwise) from error
