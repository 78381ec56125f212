"""The context of a run's steps: executor, reporter and tracker."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from raysample.core.progress import Reporter, SilentReporter
from raysample.execution.base import Executor
from raysample.tracking import NullTracker, Tracker


@dataclass(frozen=True)
class RunContext:
    """What every step gets: the executor, the reporter and the tracked run it belongs to.

    A context is never changed; a step that opens a tracked run passes a context derived with `within` down.

    Attributes:
        executor: runs models and maps functions.
        reporter: shows messages and progress.
        tracker: the tracked run that params and metrics go to.
    """

    executor: Executor
    reporter: Reporter = field(default_factory=SilentReporter)
    tracker: Tracker = field(default_factory=NullTracker)

    def within(self, tracker: Tracker) -> RunContext:
        """Return the context of the steps inside a tracked run."""
        return replace(self, tracker=tracker)

    def silent(self) -> RunContext:
        """Return a context with the same executor that neither reports nor tracks."""
        return RunContext(self.executor)
