"""The loop of raysample: in this process, and on Ray Train."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow.parquet as pq

from paces.material import Work
from paces.pace import Pace, Watch
from raysample.progress import SilentReporter
from raysample.training import train

CURVE = "curve.parquet"


def here(work: Work) -> Pace:
    """Train in this process."""
    watch = Watch()
    train(work.network(), work.data, work.recipe, work.layout, progress=lambda _step, loss: watch.step(loss))
    return watch.pace()


def on_ray(work: Work, workers: int, folder: Path) -> Pace:
    """Train on the Ray cluster that is joined; the steps are told by the curve that the job writes."""
    from raysample.on_ray.fine_tuning import fine_tune

    began = time.perf_counter()
    outcome = fine_tune(work.job(folder), (workers, workers), 0, SilentReporter())
    whole = time.perf_counter() - began
    losses, stamps = curve(folder)
    return Pace(losses, stamps, None, whole, whole - outcome.seconds)


def curve(folder: Path) -> tuple[list[float], list[float]]:
    """Return the loss of every step of a job, and the seconds from the start of the loop to its end."""
    table = pq.read_table(folder / CURVE).sort_by("step")
    if table["step"].to_pylist() != list(range(1, len(table) + 1)):
        raise ValueError(f"{folder / CURVE}: steps are missing or there twice")
    return table["loss"].to_pylist(), table["seconds"].to_pylist()
