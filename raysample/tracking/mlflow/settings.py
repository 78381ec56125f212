"""Settings made before MLflow is imported, and a filter for its log output. Imports no mlflow itself."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# A dead server blocked the first call for 247 s with MLflow's own 7 retries; these limits make it a few seconds.
for _name, _value in {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}.items():
    os.environ.setdefault(_name, _value)

_NOISY = ("mlflow", "alembic", "urllib3")


@contextmanager
def silence_mlflow() -> Iterator[None]:
    """Suppress logs and warnings of MLflow and its libraries (migrations, retries, SQLAlchemy deprecations)."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
