"""A JSONL file of tracking calls that could not be delivered yet: appended line by line, taken out when sent."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from raysample import storage

Operation = dict[str, Any]
_LOG = logging.getLogger(__name__)


class Pending:
    """The file of undelivered operations; no method raises because the disk is full or the file is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def __bool__(self) -> bool:
        return self.path.exists()

    def append(self, operation: Operation) -> None:
        """Add one operation; warns, and loses it, where even the local disk cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(operation) + "\n")
        except (OSError, TypeError, ValueError) as error:
            _LOG.warning("cannot keep %r in %s: %s", operation["do"], self.path, error)

    def deliver(self, send: Callable[[Operation], None]) -> Exception | None:
        """Send in order; what was sent leaves the file. Returns the exception that stopped it, if any."""
        sent = 0
        stop: Exception | None = None
        try:
            operations = self._read()
        except (OSError, UnicodeDecodeError) as error:
            return error
        try:
            for operation in operations:
                send(operation)
                sent += 1
        except Exception as error:  # noqa: BLE001 - tracking never fails the job
            stop = error
        if sent or not operations:
            self._keep_only(operations[sent:])
        return stop

    def _read(self) -> list[Operation]:
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        return [operation for line in lines if (operation := _parsed(line)) is not None]

    def _keep_only(self, operations: Sequence[Operation]) -> None:
        try:
            if not operations:
                self.path.unlink(missing_ok=True)
            else:
                storage.write_text(str(self.path), "".join(json.dumps(operation) + "\n" for operation in operations))
        except Exception as error:  # noqa: BLE001 - sent twice at worst, with the same times and values
            _LOG.warning("cannot shorten %s: %s", self.path, error)


def _parsed(line: str) -> Operation | None:
    try:
        operation = json.loads(line)
    except json.JSONDecodeError:  # the process died while it wrote the line
        return None
    return operation if isinstance(operation, dict) else None
