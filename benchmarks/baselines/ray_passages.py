"""What is scored, in memory and on Ray: seconds of the whole, its start-up, and the rate once it is going."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
from harness.isolated import sampled
from numpy.typing import NDArray
from torch import nn

import raysample
from raysample import models
from raysample.core.config import EngineConfig, ModelConfig, ScoreConfig
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from tests.helpers.peers.workload import Work

BATCH_TOKENS = ScoreConfig().batch_tokens


@dataclass(frozen=True)
class Material:
    """A corpus, a run, and the number of tokens at which rows are cut."""

    corpus: Corpus
    run: CheckpointSet
    max_length: int

    @cached_property
    def networks(self) -> list[nn.Module]:
        """The models of the run in memory, with frozen weights."""
        return [models.load_model(at.uri).requires_grad_(False) for at in self.run.checkpoints]

    def shard(self, number: int) -> Work:
        """Read and tokenise one shard; raises ValueError if rows repeat, since scoring visits those once."""
        tokenizer, rows = models.tokenizer(self.run.checkpoints[0].uri), self.corpus.read(number)
        encoded = models.encode(tokenizer, rows, ModelConfig(max_length=self.max_length))
        labels = rows["label"].to_numpy().astype(np.int64)
        if len(encoded.distinct(labels)[0]) < len(labels):
            raise ValueError("two rows have the same tokens and label: take other rows, or longer ones")
        return Work(self.networks, self.run.checkpoints, encoded, labels, BATCH_TOKENS)


@dataclass(frozen=True)
class Passage:
    """One scoring of the whole corpus on Ray.

    Attributes:
        rows, actors: how much, and on how many actors.
        seconds: from the call of `raysample.score` to its table.
        start_up: of these until the first shard was begun: the checks, Ray Data, the actors, their checkpoints.
        rate: rows per second from the moment at which as many shards were done as there are actors, to the last one.
        cpu_rate: rows per CPU second of the actors, over the same time; None if their CPU time cannot be seen.
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
        figures = {name: value for name, value in vars(self).items() if name != "scores"}
        return {**figures, "rate_with_start_up": self.rows / self.seconds}


def through_ray(material: Material, scores: list[Any], actors: int, folder: Path) -> Passage:
    """Score the corpus with some actors on the cluster that is joined; `folder` must be new."""
    began, engine = time.time(), EngineConfig(kind="ray")
    with cpu_seconds() as noted:
        table = raysample.score(
            material.run,
            material.corpus,
            scores,
            str(folder),
            batch_tokens=BATCH_TOKENS,
            workers=actors,
            engine=engine,
        )
    seconds, done = time.time() - began, sorted(_finished(table))
    start, end, rows = done[actors - 1][0], done[-1][0], sum(count for _, count, _ in done[actors:])
    used, columns = between(noted, start, end), table.to_arrow()
    return Passage(
        rows=table.counts["scored"],
        actors=actors,
        seconds=seconds,
        start_up=done[0][0] - done[0][2] - began,
        rate=rows / (end - start),
        cpu_rate=rows / used if used else None,
        scores={name: columns[name].to_numpy() for name in table.columns},
    )


def cpu_seconds(name: str = "ScoringActor", every: float = 2.0) -> AbstractContextManager[list[tuple[float, float]]]:
    """Yield a list that grows by (time, CPU seconds so far of all processes with `name` in their command lines)."""
    seconds = dict[int, float]()

    def look() -> tuple[float, float]:
        """Return the time, and the CPU seconds of all such processes so far."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # the process has ended meanwhile
                if name in " ".join(process.cmdline()):
                    used = process.cpu_times()
                    seconds[process.pid] = used.user + used.system
        return time.time(), sum(seconds.values())

    return sampled(look, every)


def between(noted: list[tuple[float, float]], start: float, end: float) -> float | None:
    """Return the CPU seconds used between two moments; None if nothing was seen."""
    if not any(used for _, used in noted):
        return None
    first, last = np.interp([start, end], *zip(*noted, strict=True))
    return float(last - first)


def _finished(table: ScoreTable) -> list[tuple[float, int, float]]:
    """Return when each part was written, its rows, and the seconds that they took."""
    paths = [Path(table.uri, part) for part in table.parts]
    about = [pq.read_metadata(path) for path in paths]
    return [
        (path.stat().st_mtime, part.num_rows, float(part.metadata[b"seconds"]))
        for path, part in zip(paths, about, strict=True)
    ]
