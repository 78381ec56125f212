"""Stands in for a Python process: has it forked by the process of `forking`, and ends when it ends.

`launch.py SCRIPT ...`, `launch.py -m MODULE ...` and `launch.py -c CODE ...` do what they do with `python`. Ray starts
this file, in place of its setup_worker.py, with the command line of a worker. It imports the standard library alone: a
process costs what Python's own start does, and a fork.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

PLACE = "RAYSAMPLE_TEST_FORKING"
"""The environment variable with the socket of the process that forks."""
CONTEXT, LANGUAGE = "--serialized-runtime-env-context=", "--language="
"""What setup_worker.py takes from the command line of a worker."""
DONE = b"d"
"""What is sent by a process that has come to its end."""


def order(arguments: list[str]) -> dict[str, object]:
    """Return what a process is made from: its command line, environment and folder."""
    environment = dict(os.environ)
    for one in arguments:
        if one.startswith(CONTEXT):
            environment |= json.loads(one.removeprefix(CONTEXT)).get("env_vars") or {}
    command = [one for one in arguments if not one.startswith((CONTEXT, LANGUAGE))]
    return {"command": command, "environment": environment, "folder": str(Path.cwd())}


def main(arguments: list[str]) -> int:
    """Hand over the order, with this process's input and output; return a code when what was forked has ended."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(os.environ[PLACE])
        socket.send_fds(line, [b"o"], [0, 1, 2])
        line.sendall(json.dumps(order(arguments)).encode() + b"\n")
        return 0 if line.recv(1) == DONE else 1  # nothing comes from one that died: its end of the line is closed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
