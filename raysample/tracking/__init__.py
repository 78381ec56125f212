"""Tracker: what the verbs tell about a run, wherever it is kept. The MLflow one is in `raysample.tracking.mlflow`.

Only the driver talks to a tracker. Tracking never fails or stalls the work: an implementation that cannot reach its
server warns once and goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

Value = str | int | float | bool | None


class Tracker(Protocol):
    """A place for one run's params, metrics, dataset inputs and artifacts, with nested runs below it."""

    def run(
        self, name: str, params: Mapping[str, Value], tags: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Tracker]:
        """Open a run nested in this one; leaving it normally finishes it, by an exception marks it failed."""
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
        """How a person opens what was tracked."""
        ...


class NullTracker:
    """Tracks nothing."""

    where = "tracking is off"

    @contextmanager
    def run(
        self, name: str, params: Mapping[str, Value], tags: Mapping[str, str] | None = None
    ) -> Iterator[NullTracker]:
        """Do nothing."""
        del name, params, tags
        yield self

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Do nothing."""

    def dataset(self, name: str, uri: str, digest: str, context: str, tags: Mapping[str, str] | None = None) -> None:
        """Do nothing."""

    def artifact(self, path: str, folder: str | None = None) -> None:
        """Do nothing."""


@dataclass
class MemoryTracker:
    """Keeps everything in memory, as a tree; for tests and notebooks."""

    name: str = "root"
    params: dict[str, Value] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    logged: dict[str, float] = field(default_factory=dict)
    datasets: list[tuple[str, str, str]] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    children: list[MemoryTracker] = field(default_factory=list)
    status: str = "RUNNING"
    where = "in memory"

    @contextmanager
    def run(
        self, name: str, params: Mapping[str, Value], tags: Mapping[str, str] | None = None
    ) -> Iterator[MemoryTracker]:
        """Open a child node."""
        child = MemoryTracker(name, dict(params), dict(tags or {}))
        self.children.append(child)
        try:
            yield child
        except BaseException:
            child.status = "FAILED"
            raise
        child.status = "FINISHED"

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Keep the newest value of each metric."""
        del step
        self.logged.update(values)

    def dataset(self, name: str, uri: str, digest: str, context: str, tags: Mapping[str, str] | None = None) -> None:
        """Keep name, digest and context."""
        del uri, tags
        self.datasets.append((name, digest, context))

    def artifact(self, path: str, folder: str | None = None) -> None:
        """Keep the path."""
        self.artifacts.append(f"{folder}/{path}" if folder else path)
