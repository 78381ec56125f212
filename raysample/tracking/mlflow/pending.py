"""JSONL files of tracking calls: pending ones, removed once sent, and those that MLflow refused for good.

Drivers that write to one output share the files. Each driver sends the calls of its own runs; calls of dead drivers are
sent by whichever driver has the sending lock.
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

# Whether a driver on another machine is alive is unknown here: it has a day to send its calls itself.
ELSEWHERE_SECONDS = 86_400.0
DAMAGED = 10_000
"""Maximum length of a damaged line that is kept in the file of refused calls."""


class Pending:
    """The file of undelivered operations; methods never raise for a full disk or a damaged file."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.aside = self.path.with_name(self.path.name.replace("pending", "refused"))
        if self.aside == self.path:
            self.aside = self.path.with_name(f"{self.path.name}.refused")

    def __bool__(self) -> bool:
        return self.path.exists()

    def append(self, operation: Operation) -> None:
        """Add one operation; warns, and loses it, if the local disk cannot be written."""
        self._append(self.path, {"id": uuid.uuid4().hex, "by": me(), **operation})

    def put_aside(self, operation: Operation, why: str) -> None:
        """Record an operation that MLflow refused for good, with the reason, in the file beside."""
        self._append(self.aside, {**operation, "refused": why})

    def _append(self, path: Path, operation: Operation) -> None:
        """Append an operation to a file under the lock."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked():
                _make_way(path)
                with path.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(operation) + "\n")
        except (OSError, TypeError, ValueError, RecursionError) as error:
            _LOG.warning("cannot keep %r in %s: %s", operation.get("do"), path, error)

    def deliver(self, send: Callable[[Operation], None]) -> Exception | None:
        """Send operations in order and remove the sent ones; return the error that stopped the delivery, if any."""
        try:
            # The file lock is held only for reading and rewriting, not while sending: other drivers keep appending.
            with self._one_at_a_time() as alone:
                with self._locked():
                    lines = self._read()
                return self._send([line for line in lines if _ours(line, alone)], send)
        except OSError as error:
            return error

    def _send(self, lines: list[str], send: Callable[[Operation], None]) -> Exception | None:
        """Send lines in order until one fails; remove the sent ones and return the error."""
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
        finally:  # also after Ctrl-C: what was sent must not be sent again
            self._take_out(sent)
        return None

    def _read(self) -> list[str]:
        """Return the lines of the file."""
        _make_way(self.path)
        return self.path.read_text(encoding="utf-8", errors="replace").splitlines() if self.path.exists() else []

    def _take_out(self, sent: set[str]) -> None:
        """Remove lines from the file, keeping those that other drivers added in the meantime."""
        try:
            with self._locked():
                left = [line for line in self._read() if line not in sent]
                if left:
                    storage.write_text(str(self.path), "".join(f"{line}\n" for line in left))
                else:
                    self.path.unlink(missing_ok=True)
        except Exception as error:  # noqa: BLE001 - resent at worst, with the same times and values
            _LOG.warning("cannot shorten %s: %s", self.path, error)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the files for one short access."""
        with exclusive(self.path.with_name(f".{self.path.name}.lock")):
            yield

    @contextmanager
    def _one_at_a_time(self) -> Iterator[bool]:
        """Yield whether this driver has the sending lock, which permits sending the calls of dead drivers."""
        held = None
        try:
            held = try_lock(self.path.with_name(f".{self.path.name}.sending"))
            alone = held is not None
        except OSError:  # no file locks here: act as the only driver
            alone = True
        try:
            yield alone
        finally:
            if held is not None:
                unlock(held)


def _ours(line: str, alone: bool) -> bool:
    """Return whether to send a line: of this process; or, with the sending lock (`alone`), of a dead driver."""
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
    """Return the operation in a line, None if it is damaged."""
    try:
        operation = json.loads(line)
    except (ValueError, RecursionError):  # a line cut off when its process died, or written by another program
        return None
    return operation if isinstance(operation, dict) else None


def _make_way(path: Path) -> None:
    """Rename a path that is not a regular file: a pipe would block forever, and a folder cannot be appended to."""
    if path.exists() and not path.is_file():
        aside = path.with_name(f"{path.name}.no-file-{uuid.uuid4().hex[:8]}")
        path.rename(aside)
        _LOG.warning("%s was no file, and is kept as %s", path, aside)
