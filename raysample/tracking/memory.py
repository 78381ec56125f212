"""A tracker that records in memory, for tests and notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from raysample.tracking.base import Value


@dataclass
class MemoryTracker:
    """Records everything in memory, as a tree of runs; for tests and notebooks."""

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
        """Open a nested run."""
        child = MemoryTracker(name, dict(params), dict(tags or {}))
        self.children.append(child)
        try:
            yield child
        except BaseException:
            child.status = "FAILED"
            raise
        child.status = "FINISHED"

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record the newest value of each metric."""
        del step
        self.logged.update(values)

    def dataset(self, name: str, uri: str, digest: str, context: str, tags: Mapping[str, str] | None = None) -> None:
        """Record name, digest and context."""
        del uri, tags
        self.datasets.append((name, digest, context))

    def artifact(self, path: str, folder: str | None = None) -> None:
        """Record the path."""
        self.artifacts.append(f"{folder}/{path}" if folder else path)
