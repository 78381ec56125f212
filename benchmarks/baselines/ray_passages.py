"""The rows' way from Parquet to Parquet on Ray: seconds of the whole, its start-up, and the rate once it is going."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
from numpy.typing import NDArray

import raysample
from baselines.score_material import Material
from raysample.core.config import EngineConfig
from raysample.data.score_table import ScoreTable


@dataclass(frozen=True)
class Passage:
    """One scoring of the whole corpus on Ray.

    Attributes:
        rows, actors: how much, and on how many actors.
        seconds: from the call of `raysample.score` to its table.
        start_up: of these until the first shard was begun: the checks, Ray Data, the actors, their checkpoints.
        rate: rows per second from the moment at which as many shards were done as there are actors, to the last one.
        cpu_rate: rows per CPU second of the actors, over the same time; None where that cannot be seen.
        scores: column -> [rows], in the order of the corpus.
    """

    rows: int
    actors: int
    seconds: float
    start_up: float
    rate: float
    cpu_rate: float | None
    scores: dict[str, NDArray[np.float32]]

    def figures(self) -> dict[str, Any]:
        """Return what was measured as plain data."""
        return {
            "actors": self.actors,
            "rows": self.rows,
            "seconds": round(self.seconds, 2),
            "start_up_seconds": round(self.start_up, 2),
            "start_up_share": round(self.start_up / self.seconds, 4),
            "rows_per_second": round(self.rate, 2),
            "rows_per_cpu_second": None if self.cpu_rate is None else round(self.cpu_rate, 2),
            "rows_per_second_with_start_up": round(self.rows / self.seconds, 2),
        }


def through_ray(material: Material, scores: list[Any], actors: int, folder: Path) -> Passage:
    """Score the corpus with some actors on the cluster that is joined; `folder` must be new."""
    began = time.time()
    with cpu_seconds() as noted:
        table = raysample.score(
            material.trace,
            material.corpus,
            scores,
            str(folder),
            batch_tokens=material.batch_tokens,
            workers=actors,
            engine=EngineConfig(kind="ray"),
        )
    seconds = time.time() - began
    done = sorted(_finished(table))
    first, rows = done[0], sum(count for _, count, _ in done[actors:])
    start, end = done[actors - 1][0], done[-1][0]
    used = between(noted, start, end)
    columns = table.to_arrow()
    return Passage(
        rows=table.counts["scored"],
        actors=actors,
        seconds=seconds,
        start_up=first[0] - first[2] - began,
        rate=rows / (end - start),
        cpu_rate=rows / used if used else None,
        scores={name: columns[name].to_numpy() for name in table.columns},
    )


@contextmanager
def cpu_seconds(name: str = "ScoringActor", every: float = 2.0) -> Iterator[list[tuple[float, float]]]:
    """Yield a list that grows by (time, CPU seconds so far of all processes with `name` in their command lines)."""
    noted, seconds, stop = list[tuple[float, float]](), dict[int, float](), threading.Event()

    def note() -> None:
        while not stop.wait(every):
            for process in psutil.process_iter():
                with suppress(psutil.Error):  # it has ended meanwhile
                    if name in " ".join(process.cmdline()):
                        used = process.cpu_times()
                        seconds[process.pid] = used.user + used.system
            noted.append((time.time(), sum(seconds.values())))

    thread = threading.Thread(target=note, daemon=True)
    thread.start()
    try:
        yield noted
    finally:
        stop.set()
        thread.join()


def between(noted: list[tuple[float, float]], start: float, end: float) -> float | None:
    """Return the CPU seconds used between two moments; None where nothing was seen."""
    if not any(used for _, used in noted):
        return None
    first, last = np.interp([start, end], *zip(*noted, strict=True))
    return float(last - first)


def _finished(table: ScoreTable) -> list[tuple[float, int, float]]:
    """Return when each part was written, its rows, and the seconds that they took."""
    found = []
    for part in table.parts:
        path = Path(table.uri, part)
        about = pq.read_metadata(path)
        found.append((path.stat().st_mtime, about.num_rows, float(about.metadata[b"seconds"])))
    return found
