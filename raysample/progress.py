"""Long work shows itself: bars with rates and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

LINE_EVERY_SECONDS = 10.0
LOG_WIDTH = 140


class Bar(Protocol):
    """One piece of work of known size."""

    def to(self, done: float, note: str = "") -> None:
        """Report how much is done by now."""
        ...


class Reporter:
    """Prints what the driver does: one line per finished step, and the advance of long steps."""

    def __init__(self, console: Console | None = None) -> None:
        # A log has no width of its own: wide enough for the results table.
        width = None if sys.stdout.isatty() else LOG_WIDTH
        self.console = console or Console(file=sys.stdout, highlight=False, soft_wrap=True, width=width)

    def say(self, text: str = "") -> None:
        """Print a line."""
        self.console.print(text, markup=False)

    @contextmanager
    def bar(self, title: str, total: float, unit: str) -> Iterator[Bar]:
        """Show the advance of one piece of work; `total` and the values given to `Bar.to` are in `unit`."""
        bar = (
            RichBar(self.console, title, total, unit) if self.console.is_terminal else LineBar(self, title, total, unit)
        )
        with bar:
            yield bar


class SilentReporter(Reporter):
    """Says nothing; for notebooks and tests."""

    def say(self, text: str = "") -> None:
        """Print nothing."""

    @contextmanager
    def bar(self, title: str, total: float, unit: str) -> Iterator[Bar]:
        """Show nothing."""
        del title, total, unit
        yield _SilentBar()


class _SilentBar:
    def to(self, done: float, note: str = "") -> None:
        del done, note


class LineBar:
    """Plain lines for logs: at most one every ten seconds, and one at the end."""

    def __init__(self, reporter: Reporter, title: str, total: float, unit: str) -> None:
        self.reporter, self.title, self.total, self.unit = reporter, title, total, unit
        self.done, self.note, self.start = 0.0, "", time.monotonic()
        self.last, self.first = self.start, (self.start, 0.0)

    def to(self, done: float, note: str = "") -> None:
        """Report how much is done by now."""
        now = time.monotonic()
        if self.done == 0 and done > 0:
            # What it took to get going (starting workers, loading) tells nothing about the rate.
            self.first = (now, done)
        self.done, self.note = done, note
        if now - self.last >= LINE_EVERY_SECONDS:
            self.last = now
            self.reporter.say(self._line(now))

    def _line(self, now: float) -> str:
        since, before = self.first
        rate = (self.done - before) / (now - since) if now > since else 0.0
        pace = "time left unknown"
        if rate > 0:
            each = f"{rate:,.1f}/s" if rate >= 1 else f"{1 / rate:,.0f} s each"
            pace = f"{each}, {(self.total - self.done) / rate:,.0f} s left"
        note = f"  {self.note}" if self.note else ""
        return f"  {self.title}: {self.done:,.0f}/{self.total:,.0f} {self.unit}, {pace}{note}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        seconds = time.monotonic() - self.start
        state = "done" if kind is None else "stopped"
        self.reporter.say(f"  {self.title}: {state}, {self.done:,.0f} {self.unit} in {seconds:,.1f} s")


class RichBar:
    """A live bar on a terminal."""

    def __init__(self, console: Console, title: str, total: float, unit: str) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{unit}  {{task.fields[rate]}}  {{task.fields[note]}}"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=console)
        self.task = self.progress.add_task(title, total=total, note="", rate="")
        self.start = time.monotonic()

    def to(self, done: float, note: str = "") -> None:
        """Report how much is done by now."""
        rate = done / max(time.monotonic() - self.start, 1e-9)
        self.progress.update(self.task, completed=done, note=note, rate=f"{rate:,.0f}/s")

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.progress.stop()
