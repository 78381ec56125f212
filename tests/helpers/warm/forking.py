"""The process that others are forked from: `python -m tests.helpers.warm.forking DESCRIPTOR`, of a listening socket.

Every Ray worker of a cluster, and of every actor pool anew, would import torch and transformers: seven seconds of a CPU
each, which is most of what the tests on Ray would take. The modules are in a worker what they would be without this:
the process does nothing else with them. Ray itself is left to the worker: it reads the environment when it is imported.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import multiprocessing
import os
import random
import runpy
import select
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np

MODULES = (
    "transformers.models.bert.modeling_bert",
    "raysample.workflow",
    "raysample.tracking.mlflow.tracker",
    "mlflow.store.tracking.sqlalchemy_store",
)
ABOVE, MOST = 500, 250
"""Descriptors from here on are out of the way of those of an order, which come at once and are not more than these."""


def main(door: socket.socket) -> None:
    """Fork a process for each order that comes, until the input of this process is closed."""
    before = set(os.environ)
    for name in MODULES:
        importlib.import_module(name)
    settings = {name: value for name, value in os.environ.items() if name not in before}
    if threading.active_count() > 1 or "ray" in sys.modules:
        raise RuntimeError(f"this cannot be forked: {threading.enumerate()}, Ray {'ray' in sys.modules}")
    gc.collect()
    gc.freeze()
    running = dict[int, tuple[int, socket.socket]]()  # by the descriptor that tells the end of a process
    while sys.stdin not in (ready := select.select([door, sys.stdin, *running], [], [])[0]):
        for ended in set(ready) & set(running):
            answer(ended, *running.pop(ended))
        if door in ready:
            line, _ = door.accept()
            if (pid := os.fork()) == 0:
                leave(door, running)
                become(line, settings)
                return
            note(door, line, pid)
            running[os.pidfd_open(pid)] = (pid, line)


def leave(door: socket.socket, running: dict[int, tuple[int, socket.socket]]) -> None:
    """Close what belongs to the process that forks."""
    door.close()
    for end, (_, line) in running.items():
        os.close(end)
        line.close()


def answer(end: int, pid: int, line: socket.socket) -> None:
    """Tell the launcher how the process that it stands for has ended."""
    os.close(end)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with line, suppress(OSError):  # the launcher may have ended before
        line.sendall(f"{code}\n".encode())


def note(door: socket.socket, line: socket.socket, pid: int) -> None:
    """Note beside the socket which process stands in for which."""
    (launcher, _, _) = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    folder = Path(door.getsockname()).parent
    for name, text in ((f"worker-of-{launcher}", pid), (f"launcher-of-{pid}", launcher)):
        draft = folder / f"{name}.draft"
        draft.write_text(str(text))
        draft.rename(folder / name)


def become(line: socket.socket, settings: dict[str, str]) -> None:
    """Do what the order on the line says, as a process of its own would.

    `settings`: the environment variables that the imports have set; an import in a process of its own would set them.
    """
    line = socket.socket(fileno=_out_of_the_way(line.detach()))
    _, files, _, _ = socket.recv_fds(line, 1, MOST)
    files = [_out_of_the_way(file) for file in files]
    with line.makefile("rb") as stream:
        order = json.loads(stream.readline())
    for number, source in zip(order["descriptors"], files, strict=True):
        os.dup2(source, number)
        os.close(source)
    command, environment = order["command"], order["environment"]
    os.environ.clear()
    os.environ.update(settings | environment)
    os.chdir(order["folder"])
    sys.executable = order["executable"]
    multiprocessing.set_executable(sys.executable)
    random.seed()
    np.random.seed()
    threading.Thread(target=follow, args=(line,), daemon=True).start()
    sys.path[0] = order["folder"] if command[0] in ("-c", "-m") else str(Path(command[0]).parent)
    sys.path[1:1] = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place]
    run(command)


def _out_of_the_way(descriptor: int) -> int:
    """Return another descriptor of the same file, and close the given one."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, ABOVE)
    os.close(descriptor)
    return moved


def run(command: list[str]) -> None:
    """Run what stands behind `python` in a command line."""
    sys.argv = command
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    elif command[0] == "-c":
        sys.argv = ["-c", *command[2:]]
        exec(compile(command[1], "<string>", "exec"), vars(sys.modules["__main__"]))
    else:
        runpy.run_path(command[0], run_name="__main__")


def follow(line: socket.socket) -> None:
    """Die with the process that this one stands in for."""
    line.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
