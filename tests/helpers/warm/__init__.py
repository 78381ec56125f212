"""Processes that are forked from a warm one, in place of processes that import everything anew."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from tests.helpers.paths import ROOT
from tests.helpers.warm import launch


@contextmanager
def forking() -> Iterator[None]:
    """Start the process that forks, unless there is one; orders queue until it has imported what it shares."""
    if launch.PLACE in os.environ:
        yield
        return
    folder = tempfile.mkdtemp(prefix="warm-", dir="/tmp")  # short: the path of a socket may not be long
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(place := str(Path(folder, "door")))
        door.listen(64)
        command = [sys.executable, "-m", "tests.helpers.warm.forking", str(door.fileno())]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[door.fileno()], cwd=ROOT)
    os.environ[launch.PLACE] = place
    try:
        yield
    finally:
        del os.environ[launch.PLACE]
        process.kill()  # what was forked goes on; where this process is killed, the end of its input ends it
        process.communicate()
        shutil.rmtree(folder)


def python() -> list[str]:
    """Return what begins the command line of a Python process: it is forked where there is a process that forks."""
    return [sys.executable, launch.__file__] if launch.PLACE in os.environ else [sys.executable]


def forget(package: str) -> None:
    """Let a package be imported anew, with what is around it now, in a process that was forked with it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


def executable(folder: Path) -> str:
    """Write a program into a folder that does what `python` does, in a process that is forked; return its path."""
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nexport {launch.PROGRAM}="$0"\nexec {shlex.join(python())} "$@"\n')
    program.chmod(0o755)
    return str(program)


@contextmanager
def warm_workers() -> Iterator[None]:
    """Let the nodes that this process starts fork their workers where there is a process that forks.

    They do without what no test of them looks at: the monitors of logs, which no driver shows, and of demand, and the
    dashboard's server. Each would import Ray, and the first goes on reading as long as there is a cluster.
    """
    from raysample.execution.ray.session import ray  # after the environment that Ray reads

    node = ray._private.node.Node
    with ExitStack() as stack:
        for start in ("start_log_monitor", "start_monitor", "start_api_server"):
            stack.enter_context(mock.patch.object(node, start))
        if launch.PLACE in os.environ:
            # Joined to the folder of Ray's scripts, an absolute path stays what it is.
            stack.enter_context(mock.patch.object(ray._private.ray_constants, "SETUP_WORKER_FILENAME", launch.__file__))
        yield


def forked_by(launcher: int) -> int:
    """Return the process that a launcher stands for; any other process stands for itself."""
    return _noted(f"worker-of-{launcher}", launcher)


def launcher_of(process: int) -> int:
    """Return the launcher of a process that was forked; any other process is its own."""
    return _noted(f"launcher-of-{process}", process)


def _noted(name: str, otherwise: int) -> int:
    place = os.environ.get(launch.PLACE)
    note = Path(place).with_name(name) if place else None
    return int(note.read_text()) if note is not None and note.exists() else otherwise
