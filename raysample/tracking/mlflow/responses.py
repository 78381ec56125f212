"""Classification of MLflow's exceptions: try the call again later, or never. Imports no mlflow."""

from __future__ import annotations

import errno
from enum import Enum
from typing import Any

from raysample.tracking.mlflow import values

REFUSING = {400, 403, 404, 405, 409, 413, 414, 422}
"""HTTP statuses that are final for this call; 401, 408, 425, 429 and 5xx may change later."""


FAULTS = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""Exceptions of a call with invalid data."""

PATHS = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}
"""Error numbers for a path that leads to no file."""


class Answer(Enum):
    """What a failed call means for this and later calls."""

    AWAY = "the same call may be taken later, and so may no other now"
    REFUSED = "this call will never be taken; others may be"
    GONE = "the run, or its experiment, is not there, or not ours: none of its calls will be taken"


def answer(error: Exception) -> Answer:
    """Return whether a failed call should wait, or is refused for good.

    A statement on the call itself by MLflow (error code) or a server (HTTP status) is final, and so is invalid data in
    the call. Errors of connections, locks, disks and servers may pass.
    """
    status, code = _status(error), getattr(error, "error_code", "")
    if status is None:
        if isinstance(error, FileNotFoundError) or (isinstance(error, OSError) and error.errno in PATHS):
            return Answer.REFUSED
        faulty = isinstance(error, FAULTS)
        return Answer.REFUSED if faulty and not isinstance(error, OSError) else Answer.AWAY
    if code == "ENDPOINT_NOT_FOUND":  # a proxy whose server is down gives this code
        return Answer.AWAY
    if code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "PERMISSION_DENIED"):
        return Answer.GONE
    return Answer.REFUSED if status in REFUSING else Answer.AWAY


def _status(error: Any) -> int | None:
    """Return the HTTP status of exceptions of MLflow, requests and object store clients; None for others."""
    found = getattr(error, "get_http_status_code", None)
    if callable(found):
        return int(found())
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        response = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        response = getattr(response, "status_code", None)
    return response if isinstance(response, int) else None


def failure_reason(error: Exception) -> str:
    """Return an exception as one line of text without credentials."""
    return values.redact(f"{type(error).__name__}: {error}").splitlines()[0][:300]
