"""JSONL files of tracking calls: those that wait for MLflow, taken out when sent, and those it will never take.

Drivers that run side by side in one output share the files. Each sends the calls of its own runs, and those of
drivers that are gone; one alone at a time sends the latter.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raysample.core import storage
from raysample.core.locking import exclusive
from raysample.core.locking.files import try_lock, unlock
from raysample.core.locking.processes import dead, machine, me

Operation = dict[str, Any]
_LOG = logging.getLogger(__name__)

# The driver of another machine cannot be looked up: it has a day to send its calls itself.
ELSEWHERE_SECONDS = 86_400.0
DAMAGED = 10_000
"""Characters that are kept of a line that is no operation."""


class Pending:
    """The file of undelivered operations; no method raises because the disk is full or the file is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.aside = self.path.with_name(self.path.name.replace("pending", "refused"))
        if self.aside == self.path:
            self.aside = self.path.with_name(f"{self.path.name}.refused")

    def __bool__(self) -> bool:
        return self.path.exists()

    def append(self, operation: Operation) -> None:
        """Add one operation; warns, and loses it, where even the local disk cannot be written."""
        self._append(self.path, {"id": uuid.uuid4().hex, "by": me(), **operation})

    def put_aside(self, operation: Operation, why: str) -> None:
        """Keep an operation that MLflow will never take, with the reason, where a person finds it."""
        self._append(self.aside, {**operation, "refused": why})

    def _append(self, path: Path, operation: Operation) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked():
                _make_way(path)
                with path.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(operation) + "\n")
        except (OSError, TypeError, ValueError, RecursionError) as error:
            _LOG.warning("cannot keep %r in %s: %s", operation.get("do"), path, error)

    def deliver(self, send: Callable[[Operation], None]) -> Exception | None:
        """Send in order what is ours to send; what was sent leaves the file. Returns what stopped it, if anything."""
        try:
            with self._one_at_a_time() as alone:
                with self._locked():
                    lines = self._read()
                return self._send([line for line in lines if _ours(line, alone)], send)
        except OSError as error:
            return error

    def _send(self, lines: list[str], send: Callable[[Operation], None]) -> Exception | None:
        sent = set[str]()
        try:
            for line in lines:
                operation = _parsed(line)
                if operation is not None:
                    send(operation)
                elif line.strip():
                    self.put_aside({"line": line[:DAMAGED]}, "no operation")
                sent.add(line)
        except Exception as error:  # noqa: BLE001 - tracking never fails the job
            return error
        finally:
            self._take_out(sent)
        return None

    def _read(self) -> list[str]:
        _make_way(self.path)
        return self.path.read_text(encoding="utf-8", errors="replace").splitlines() if self.path.exists() else []

    def _take_out(self, sent: set[str]) -> None:
        """Remove lines; others may have been added meanwhile."""
        try:
            with self._locked():
                left = [line for line in self._read() if line not in sent]
                if left:
                    storage.write_text(str(self.path), "".join(f"{line}\n" for line in left))
                else:
                    self.path.unlink(missing_ok=True)
        except Exception as error:  # noqa: BLE001 - sent twice at worst, with the same times and values
            _LOG.warning("cannot shorten %s: %s", self.path, error)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with exclusive(self.path.with_name(f".{self.path.name}.lock")):
            yield

    @contextmanager
    def _one_at_a_time(self) -> Iterator[bool]:
        """Yield whether this driver may send the calls of others meanwhile."""
        held = None
        try:
            held = try_lock(self.path.with_name(f".{self.path.name}.sending"))
            alone = held is not None
        except OSError:  # a file system without locks: as a single driver
            alone = True
        try:
            yield alone
        finally:
            if held is not None:
                unlock(held)


def _ours(line: str, alone: bool) -> bool:
    """Tell whether to send a line: of this process; of one that is gone, or of an earlier version, where `alone`."""
    operation = _parsed(line)
    if operation is None:
        return alone
    by = str(operation.get("by", ""))
    if by == me():
        return True
    at = operation.get("at")
    old = not isinstance(at, int | float) or not at > (time.time() - ELSEWHERE_SECONDS) * 1000
    gone = dead(by) if by.startswith(f"{machine()}:") else old
    return alone and (not by or gone)


def _parsed(line: str) -> Operation | None:
    try:
        operation = json.loads(line)
    except (ValueError, RecursionError):  # the process died while it wrote the line, or something else wrote it
        return None
    return operation if isinstance(operation, dict) else None


def _make_way(path: Path) -> None:
    """Move what is no file out of the way: a pipe would wait for ever, and a folder takes no call."""
    if path.exists() and not path.is_file():
        aside = path.with_name(f"{path.name}.no-file-{uuid.uuid4().hex[:8]}")
        path.rename(aside)
        _LOG.warning("%s was no file, and is kept as %s", path, aside)
