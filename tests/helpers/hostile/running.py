"""Trying many inputs in worker processes that are watched: what hangs or dies is a finding, and the work goes on."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import resource
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tests.helpers.hostile.kinds import HangError, Kind, Verdict, judged

CHUNK = 100
GRACE = 20.0
"""Seconds beyond the limit after which a worker that does not answer its alarm is killed."""
START = 120.0
"""Seconds in which a new worker must have come up."""
MEMORY = 12 << 30

Task = tuple[str, int, int]
Told = tuple[str, int, Verdict]


@contextlib.contextmanager
def alarmed(limit: float) -> Iterator[None]:
    """Raise HangError where the work takes longer than so many seconds."""

    def ring(*_: Any) -> None:
        raise HangError(f"more than {limit:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit, 1.0)  # again, where something swallowed it
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def tried(kind: Kind, seed: int, templates: Path, limit: float, keep: Path | None = None) -> Verdict:
    """Try one input under an alarm."""
    try:
        with alarmed(limit):
            return judged(kind, seed, templates, keep)
    except HangError as error:  # it rang while the scratch folder was taken away
        return Verdict("hang", "outside", str(error))


def _work(pipe: Connection, kinds: dict[str, Kind], templates: Path, limit: float) -> None:
    """Take tasks from the pipe and answer for each seed; runs in a process of its own."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (task := pipe.recv()) is not None:
        name, start, stop = task
        for seed in range(start, stop):
            pipe.send((name, seed, tried(kinds[name], seed, templates, limit)))


@dataclass
class _Worker:
    """A process, its pipe, and what it is at; `fresh`: it may still be importing."""

    process: Any
    pipe: Connection
    task: Task | None = None
    since: float = 0.0
    fresh: bool = True

    def told(self, limit: float) -> Told | None:
        """Return what it says of its input, or that it died or hangs over it; None while there is nothing."""
        assert self.task is not None
        name, seed, _ = self.task
        if self.pipe.poll():
            try:
                told: Told = self.pipe.recv()
            except (EOFError, OSError):
                self.process.join()
                return name, seed, Verdict("traceback", f"worker died ({self.process.exitcode}) at {name}")
            return told
        allowed = limit + GRACE + (START if self.fresh else 0)
        if time.monotonic() - self.since > allowed:
            return name, seed, Verdict("hang", f"worker hangs at {name}")
        return None

    def end(self, patience: float = 0) -> None:
        """End the process: it leaves by itself where there is nothing more to do."""
        self.process.join(patience)
        self.process.kill()
        self.process.join()


def run(kinds: Sequence[Kind], tasks: Sequence[Task], templates: Path, limit: float, workers: int) -> Iterator[Told]:
    """Yield name, seed and verdict of every input, as they come."""
    warm_up()
    waiting = [piece for task in tasks for piece in _pieces(task)]
    waiting.reverse()
    given = ({kind.name: kind for kind in kinds}, templates, limit)
    crew = [_next(_started(*given), waiting) for _ in range(min(workers, len(waiting)))]
    try:
        while busy := [worker for worker in crew if worker.task is not None]:
            wait([worker.pipe for worker in busy], timeout=1.0)
            for worker in busy:
                told = worker.told(limit)
                if told is None:
                    continue
                yield told
                if told[2].where.startswith("worker"):
                    worker.end()
                    crew.remove(worker)
                    waiting += _rest(worker)
                    crew += [_next(_started(*given), waiting)] if waiting else []
                else:
                    _go_on(worker, waiting)
        for worker in crew:
            worker.end(patience=GRACE)
    finally:
        for worker in crew:
            worker.end()


def warm_up() -> None:
    """Start the process that workers are forked from: it imports what the kinds use, once for all workers."""
    room = __package__ or ""
    names = [f"{room}.{name}" for name in ("running", "config", "rows", "columnar", "folders", "saved")]
    # MLflow takes seconds to import, on a busy machine more than an input may take.
    names += ["raysample.tracking.mlflow.connection", "raysample.tracking.mlflow.pending"]
    multiprocessing.get_context("forkserver").set_forkserver_preload(names)
    root, before = str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([root, *([before] if before else [])])
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _started(named: dict[str, Kind], templates: Path, limit: float) -> _Worker:
    """Fork a worker that waits for its first task."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, named, templates, limit), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _next(worker: _Worker, waiting: list[Task]) -> _Worker:
    worker.task, worker.since = waiting.pop() if waiting else None, time.monotonic()
    with contextlib.suppress(OSError):
        worker.pipe.send(worker.task)
    return worker


def _rest(worker: _Worker) -> list[Task]:
    assert worker.task is not None
    name, seed, stop = worker.task
    return [(name, seed + 1, stop)] if seed + 1 < stop else []


def _go_on(worker: _Worker, waiting: list[Task]) -> None:
    rest, worker.fresh = _rest(worker), False
    if rest:
        worker.task, worker.since = rest[0], time.monotonic()
    else:
        _next(worker, waiting)


def _pieces(task: Task) -> list[Task]:
    name, start, stop = task
    return [(name, begin, min(stop, begin + CHUNK)) for begin in range(start, stop, CHUNK)]
