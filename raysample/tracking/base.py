"""The Tracker protocol: records params, metrics, dataset inputs and artifacts of runs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

Value = str | int | float | bool | None


class Tracker(Protocol):
    """Records one run's params, metrics, dataset inputs and artifacts, and nested runs below it.

    >>> from raysample.tracking import MemoryTracker
    >>> tracker = MemoryTracker()
    >>> with tracker.run("score", {"rows": 3}) as run:
    ...     run.metrics({"accuracy": 0.9})
    >>> tracker.children[0].logged
    {'accuracy': 0.9}
    """

    def run(
        self, name: str, params: Mapping[str, Value], tags: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Tracker]:
        """Open a nested run; leaving the context normally finishes the run, an exception marks it as failed."""
        ...

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics, with fixed names, of the current run."""
        ...

    def dataset(self, name: str, uri: str, digest: str, context: str, tags: Mapping[str, str] | None = None) -> None:
        """Log a corpus or selection as input of the current run; `digest` is raysample's own fingerprint."""
        ...

    def artifact(self, path: str, folder: str | None = None) -> None:
        """Store a local file with the current run."""
        ...

    @property
    def where(self) -> str:
        """Command or address that opens the tracked results."""
        ...
