"""Progress of long work: bars with rates and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from raysample.core.redaction import redact

Say = Callable[[str], None]
"""Reports one line to the user."""

LINE_EVERY_SECONDS = 10.0
LOG_WIDTH = 140


class Pace:
    """The rate of a piece of work from its first progress on: start-up time says nothing about the rate."""

    def __init__(self) -> None:
        self.done, self.start = 0.0, time.monotonic()
        self._first = (self.start, 0.0)
        self._last = self.start

    def to(self, done: float) -> None:
        """Record the amount done so far."""
        self._last = time.monotonic()
        if self.done == 0 and done > 0:
            self._first = (self._last, done)
        self.done = done

    @property
    def rate(self) -> float:
        """Units per second; 0 while unknown."""
        since, before = self._first
        return (self.done - before) / (self._last - since) if self._last > since else 0.0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start


class Bar(Protocol):
    """One piece of work of known size."""

    def to(self, done: float, note: str = "") -> None:
        """Report the amount done so far."""
        ...


class Reporter:
    """Prints the progress of the driver: one line per finished step, and bars for long steps."""

    def __init__(self, console: Console | None = None) -> None:
        # A log has no terminal width; this one fits the results table.
        width = None if sys.stdout.isatty() else LOG_WIDTH
        self.console = console or Console(file=sys.stdout, highlight=False, soft_wrap=True, width=width)

    def say(self, text: str = "") -> None:
        """Print a line, with the credentials of addresses masked."""
        self.console.print(redact(text), markup=False)

    @contextmanager
    def bar(self, title: str, total: float, unit: str) -> Iterator[Bar]:
        """Show the progress of one piece of work; `total` and the values passed to `Bar.to` are in `unit`."""
        bar = (
            RichBar(self.console, title, total, unit) if self.console.is_terminal else LineBar(self, title, total, unit)
        )
        with bar:
            yield bar


class SilentReporter(Reporter):
    """Prints nothing; for notebooks and tests."""

    def say(self, text: str = "") -> None:
        """Print nothing."""

    @contextmanager
    def bar(self, title: str, total: float, unit: str) -> Iterator[Bar]:
        """Show nothing."""
        del title, total, unit
        yield _SilentBar()


class _SilentBar:
    """A bar that shows nothing."""

    def to(self, done: float, note: str = "") -> None:
        """Ignore the amount."""
        del done, note


class LineBar:
    """Plain lines for logs: at most one every ten seconds, and one at the end."""

    def __init__(self, reporter: Reporter, title: str, total: float, unit: str) -> None:
        self.reporter, self.title, self.total, self.unit = reporter, title, total, unit
        self.pace, self.note = Pace(), ""
        self.last = self.pace.start

    def to(self, done: float, note: str = "") -> None:
        """Report the amount done so far."""
        self.pace.to(done)
        self.note = note
        now = time.monotonic()
        if now - self.last >= LINE_EVERY_SECONDS:
            self.last = now
            self.reporter.say(self._line())

    def _line(self) -> str:
        """Return the line: amount, share, rate, time left and note."""
        rate, done = self.pace.rate, self.pace.done
        pace = "time left unknown"
        if rate > 0:
            each = f"{rate:,.1f}/s" if rate >= 1 else f"{1 / rate:,.0f} s each"
            pace = f"{each}, {(self.total - done) / rate:,.0f} s left"
        note = f"  {self.note}" if self.note else ""
        return f"  {self.title}: {done:,.0f}/{self.total:,.0f} {self.unit} ({done / self.total:.0%}), {pace}{note}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        state, note = "done" if kind is None else "stopped", f"  {self.note}" if self.note else ""
        done = f"{self.pace.done:,.0f} {self.unit} in {self.pace.seconds:,.1f} s"
        self.reporter.say(f"  {self.title}: {state}, {done}{note}")


class RichBar:
    """A live bar on a terminal."""

    def __init__(self, console: Console, title: str, total: float, unit: str) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TextColumn(f"{unit}  {{task.fields[rate]}}  {{task.fields[note]}}"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=console)
        self.task = self.progress.add_task(title, total=total, note="", rate="")
        self.pace = Pace()

    def to(self, done: float, note: str = "") -> None:
        """Report the amount done so far."""
        self.pace.to(done)
        rate = f"{self.pace.rate:,.1f}/s" if self.pace.rate else ""
        self.progress.update(self.task, completed=done, note=note, rate=rate)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.progress.stop()
