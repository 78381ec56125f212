"""The identity of this process, and whether another process still lives."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path


@cache
def machine() -> str:
    """Return an identity of this machine: host name, boot, and PID namespace (containers share a kernel)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:13]
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:  # no Linux: the host name has to do
        boot = space = ""
    return "/".join((socket.gethostname(), boot, space))


def started(pid: int) -> str:
    """Return the start time of a process of this machine, in clock ticks since boot; empty if unknown.

    A process id is reused; together with the start time it is unique.
    """
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else ""


def lives(pid: int, start: str) -> bool:
    """Return whether the process with this id and start time still lives on this machine; paused processes live."""
    fields = _stat(pid)
    if not fields:
        return not Path("/proc/self/stat").exists() and _answers(pid)
    return fields[0] not in ("Z", "X") and (not start or fields[19] == start)


def me() -> str:
    """Return this process as `machine:pid:start`."""
    return f"{machine()}:{os.getpid()}:{started(os.getpid())}"


def dead(word: str) -> bool:
    """Return whether the process of an identity from `me` is known to be gone.

    False for processes of other machines.
    """
    rest, _, start = word.rpartition(":")
    where, _, pid = rest.rpartition(":")
    return where == machine() and pid.isdigit() and not lives(int(pid), start)


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; the name before it may contain spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _answers(pid: int) -> bool:
    """Return whether a process exists, by signal 0."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
