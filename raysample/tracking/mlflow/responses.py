"""What an exception of MLflow means for the call that it came from. Imports no mlflow."""

from __future__ import annotations

import errno
from enum import Enum
from typing import Any

from raysample.tracking.mlflow import values

REFUSING = {400, 403, 404, 405, 409, 413, 414, 422}
"""Statuses of answers about this one call; 401, 408, 425, 429 and those of the server may be other ones later."""


FAULTS = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What a call that is itself damaged ends in."""

PATHS = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}
"""What the system answers where the path of a call leads to no file."""


class Answer(Enum):
    """How it goes on with a call that failed."""

    AWAY = "the same call may be taken later, and so may no other now"
    REFUSED = "this call will never be taken; others may be"
    GONE = "the run, or its experiment, is not there, or not ours: none of its calls will be taken"


def answer(error: Exception) -> Answer:
    """Tell whether a call that failed shall wait, or be put aside.

    What MLflow (by its own code) or a server (by its status) says of the call is final; so is a fault of the call
    itself. A connection, a lock, a full disk and every fault of a server may pass.
    """
    status, code = _status(error), getattr(error, "error_code", "")
    if status is None:
        if isinstance(error, FileNotFoundError) or (isinstance(error, OSError) and error.errno in PATHS):
            return Answer.REFUSED
        faulty = isinstance(error, FAULTS)
        return Answer.REFUSED if faulty and not isinstance(error, OSError) else Answer.AWAY
    if code == "ENDPOINT_NOT_FOUND":  # a proxy without its server answers so
        return Answer.AWAY
    if code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "PERMISSION_DENIED"):
        return Answer.GONE
    return Answer.REFUSED if status in REFUSING else Answer.AWAY


def _status(error: Any) -> int | None:
    """Return the HTTP status of MLflow's exceptions, of requests' and of object stores' clients; None of others."""
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
    """Return an exception in one line without credentials."""
    return values.redact(f"{type(error).__name__}: {error}").splitlines()[0][:300]
