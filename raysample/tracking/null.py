"""A tracker that records nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from raysample.tracking.base import Value


class NullTracker:
    """Records nothing."""

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
