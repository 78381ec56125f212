"""Stands in for a Python process: has it forked by the process of `forking`, and ends when it ends.

`launch.py SCRIPT ...`, `launch.py -m MODULE ...` and `launch.py -c CODE ...` do what they do with `python`, also for
multiprocessing. Ray starts this file, in place of its setup_worker.py, with the command line of a worker. It imports
the standard library alone: a process costs what Python's own start does, and a fork.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path

PLACE = "RAYSAMPLE_TEST_FORKING"
"""The environment variable with the socket of the process that forks."""
PROGRAM = "RAYSAMPLE_TEST_PYTHON"
"""The environment variable with the program that a test starts as `python`, if it starts one."""
CONTEXT, LANGUAGE = "--serialized-runtime-env-context=", "--language="
"""What setup_worker.py takes from the command line of a worker."""
UNBUFFERED = "-u"
"""What execnet gives to Python; the input and output of what is forked are what they are."""
SPAWNED, TRACKER = "--multiprocessing-fork", "from multiprocessing.resource_tracker "
"""What tells the processes that multiprocessing starts, with descriptors of their own, and its light tracker."""


def order(arguments: list[str]) -> dict[str, object]:
    """Return what a process is made from: its command line, environment, folder and program."""
    environment = dict(os.environ)
    for one in arguments:
        if one.startswith(CONTEXT):
            environment |= json.loads(one.removeprefix(CONTEXT)).get("env_vars") or {}
    command = [one for one in arguments if not one.startswith((CONTEXT, LANGUAGE))]
    if command[0] == UNBUFFERED:
        del command[0]
    program = environment.get(PROGRAM, sys.executable)
    return {"command": command, "environment": environment, "folder": str(Path.cwd()), "executable": program}


def inherited(arguments: list[str]) -> list[int]:
    """Return the descriptors that a process is given: input and output, and what multiprocessing adds."""
    if SPAWNED not in arguments:
        return [0, 1, 2]
    links = list(Path("/proc/self/fd").iterdir())
    return [int(link.name) for link in links if link.is_symlink()]  # not that of the listing itself, which is closed


def main(arguments: list[str]) -> int:
    """Hand over the order, with this process's input and output; return the exit code of what was forked."""
    if any(one.startswith(TRACKER) for one in arguments):
        os.execv(sys.executable, [sys.executable, *arguments])
    numbers = inherited(arguments)
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(os.environ[PLACE])
        socket.send_fds(line, [b"o"], numbers)
        line.sendall(json.dumps(order(arguments) | {"descriptors": numbers}).encode() + b"\n")
        with line.makefile("r") as answer:
            code = int(answer.readline() or 1)  # nothing comes from a process that forks and was killed itself
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        signal.raise_signal(-code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
