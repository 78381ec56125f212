"""Ways to train with a watch: raysample here and on Ray Train, by hand here and with DDP, the Hugging Face Trainer."""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Event

import numpy as np
import psutil
import pyarrow.parquet as pq
import torch
from harness.timing import StepReporter
from numpy.typing import NDArray
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from baselines.paces import Pace, Watch
from raysample.training.length_balance import length_balanced_split
from tests.helpers.training_twins import TrainingWork, train_by_hand

IntArray = NDArray[np.int64]
Dealing = Callable[[IntArray, IntArray, int, int], IntArray]


def in_this_process(work: TrainingWork, train: Callable[..., None], **options: object) -> Pace:
    """Train in this process."""
    watch = Watch()
    train(work, work.network(), watch.step, **options)
    return watch.pace()


def in_turn(rows: IntArray, lengths: IntArray, rank: int, world: int) -> IntArray:
    """Return the rows that a process takes of a batch as PyTorch's DistributedSampler deals it."""
    del lengths
    return rows[rank::world]


def by_length(rows: IntArray, lengths: IntArray, rank: int, world: int) -> IntArray:
    """Return the rows that a process takes of a batch as raysample deals it."""
    (mine,) = length_balanced_split(rows, lengths, rank, world)
    return mine


def with_ddp(work: TrainingWork, world: int, deal: Dealing = in_turn, under_way: Event | None = None) -> Pace:
    """Train by hand with DDP over gloo in `world` new processes; the losses are means over all of them.

    The event is set when a quarter of the steps are made.
    """
    began = time.perf_counter()
    reached = multiprocessing.get_context("spawn").Event()
    with tempfile.TemporaryDirectory(prefix="raysample-ddp-") as folder:
        context = multiprocessing.spawn(_ddp_process, (work, world, deal, folder, reached), nprocs=world, join=False)
        while not context.join(timeout=0.2):
            if under_way is not None and reached.is_set():
                under_way.set()
        found = [pickle.loads(Path(folder, str(rank)).read_bytes()) for rank in range(world)]
    losses = np.mean([watch.losses for watch in found], axis=0)
    return Pace(losses.tolist(), found[0].wall, found[0].cpu, time.perf_counter() - began)


def _ddp_process(rank: int, work: TrainingWork, world: int, deal: Dealing, folder: str, reached: Event) -> None:
    """Train on this rank's rows of every batch, and leave what was noted in a file."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    watch = Watch()

    def note(loss: float) -> None:
        """Note the loss of a step, and that the first quarter is over."""
        watch.step(loss)
        if len(watch.losses) == work.steps // 4:
            reached.set()

    def share(rows: IntArray) -> IntArray:
        """Return the rows of a batch that this worker takes."""
        return deal(rows, work.data.encoded.lengths, rank, world)

    train_by_hand(work, DistributedDataParallel(work.network()), note, share, world)
    distributed.destroy_process_group()
    Path(folder, str(rank)).write_bytes(pickle.dumps(watch))


def on_ray(work: TrainingWork, workers: int, folder: Path, under_way: Event | None = None) -> Pace:
    """Train on the Ray cluster that is joined; losses and times of the steps are in the curve that the job writes.

    The event is set when a quarter of the steps are made.
    """
    from raysample.execution.ray.fine_tuning import fine_tune_on_ray

    began, place = time.perf_counter(), Path(tempfile.mkdtemp(dir=folder))
    reached = under_way or Event()
    reporter = StepReporter(lambda done: reached.set() if done >= work.steps // 4 else None)
    outcome = fine_tune_on_ray(work.job(place), (workers, workers), 0, reporter)
    whole = time.perf_counter() - began
    curve = pq.read_table(place / "curve.parquet").sort_by("step")
    if curve["step"].to_pylist() != list(range(1, work.steps + 1)):
        raise ValueError(f"{place}: steps are missing or there twice")
    return Pace(curve["loss"].to_pylist(), curve["seconds"].to_pylist(), None, whole, whole - outcome.seconds)


def ddp_processes() -> list[psutil.Process]:
    """Return the processes that `with_ddp` has started."""
    return _processes(psutil.Process().children(), lambda command: "spawn_main" in " ".join(command))


def ray_processes() -> list[psutil.Process]:
    """Return the workers and actors of the cluster that this process has started, without its daemons."""
    every = psutil.Process().children(recursive=True)
    return _processes(every, lambda command: "".join(command).startswith("ray::") and "Agent" not in command[0])


def _processes(every: Iterable[psutil.Process], belongs: Callable[[list[str]], bool]) -> list[psutil.Process]:
    """Return the processes whose command line belongs to a training; a process that is just ending is left out."""
    found = []
    for process in every:
        with suppress(psutil.NoSuchProcess):
            if belongs(process.cmdline()):
                found.append(process)
    return found
