"""Which process this is, and whether another one still lives."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path


@cache
def machine() -> str:
    """Return what tells machines apart: host name, boot, and space of process ids (containers share a kernel)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:13]
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:  # no Linux: the host name has to do
        boot = space = ""
    return "/".join((socket.gethostname(), boot, space))


def started(pid: int) -> str:
    """Return when a process of this machine started, in the kernel's own count; empty where nobody knows.

    A process id is given again to another process later; together with its start it is not.
    """
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else ""


def lives(pid: int, start: str) -> bool:
    """Tell whether the process of this machine that had this id and this start is still there; paused ones are."""
    fields = _stat(pid)
    if not fields:
        return not Path("/proc/self/stat").exists() and _answers(pid)
    return fields[0] not in ("Z", "X") and (not start or fields[19] == start)


def me() -> str:
    """Return this process in one word: machine, process id and start."""
    return f"{machine()}:{os.getpid()}:{started(os.getpid())}"


def dead(word: str) -> bool:
    """Tell whether the process of a word of `me` is known to be gone; False for processes of other machines."""
    rest, _, start = word.rpartition(":")
    where, _, pid = rest.rpartition(":")
    return where == machine() and pid.isdigit() and not lives(int(pid), start)


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on: the name before it may hold spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
