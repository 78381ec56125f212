"""The loop of raysample: in this process, and on Ray Train."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import psutil
import pyarrow.parquet as pq

from baselines.pace import Pace, Watch
from baselines.train_material import Work
from raysample.core.progress import Bar, SilentReporter
from raysample.training import train

CURVE = "curve.parquet"


def here(work: Work) -> Pace:
    """Train in this process."""
    watch = Watch()
    train(work.network(), work.data, work.recipe, work.layout, progress=lambda _step, loss: watch.step(loss))
    return watch.pace()


def on_ray(work: Work, workers: int, folder: Path, under_way: Event | None = None) -> Pace:
    """Train on the Ray cluster that is joined; the steps are told by the curve that the job writes.

    The event is set when a quarter of the steps are made.
    """
    from raysample.execution.ray.fine_tuning import fine_tune_on_ray

    began = time.perf_counter()
    outcome = fine_tune_on_ray(work.job(folder), (workers, workers), 0, Notices(work.steps // 4, under_way or Event()))
    whole = time.perf_counter() - began
    losses, stamps = curve(folder)
    return Pace(losses, stamps, None, whole, whole - outcome.seconds)


class Notices(SilentReporter):
    """Sets an event when so many steps are made."""

    def __init__(self, steps: int, event: Event) -> None:
        super().__init__()
        self.steps, self.event = steps, event

    @contextmanager
    def bar(self, title: str, total: float, unit: str) -> Iterator[Bar]:
        """Watch this piece of work, the only one."""
        del title, total, unit
        yield self

    def to(self, done: float, note: str = "") -> None:
        """Set the event once it is time."""
        del note
        if done >= self.steps:
            self.event.set()


def processes() -> list[psutil.Process]:
    """Return the workers and actors of the cluster that this process has started; its own daemons are none of them."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            title = "".join(process.cmdline()[:1])
            if title.startswith("ray::") and "Agent" not in title:
                found.append(process)
    return found


def curve(folder: Path) -> tuple[list[float], list[float]]:
    """Return the loss of every step of a job, and the seconds from the start of the loop to its end."""
    table = pq.read_table(folder / CURVE).sort_by("step")
    if table["step"].to_pylist() != list(range(1, len(table) + 1)):
        raise ValueError(f"{folder / CURVE}: steps are missing or there twice")
    return table["loss"].to_pylist(), table["seconds"].to_pylist()
