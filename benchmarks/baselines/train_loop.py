"""The training loop that one would write by hand, in this process or with DDP over several."""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.rnn import pad_sequence
from torch.optim.lr_scheduler import LambdaLR

from baselines.pace import Pace, Watch
from baselines.train_material import Work
from raysample.training import Examples
from raysample.training.length_balance import length_balanced_split

IntArray = NDArray[np.int64]
Dealing = Callable[[IntArray, IntArray, int, int], IntArray]


def alone(work: Work) -> Pace:
    """Train in this process."""
    watch = Watch()
    train(work.network(), work, work.order, watch.step)
    return watch.pace()


def train(
    network: nn.Module, work: Work, order: Sequence[IntArray], note: Callable[[float], None], world: int = 1
) -> None:
    """Train on the rows of `order`, one batch or share after the other, and note the loss of each.

    Losses are summed and divided by the batch's rows, times the processes whose gradients DDP takes the mean of: shares
    may differ in size.
    """
    data, recipe = work.data, work.recipe
    matrices = [weight for weight in network.parameters() if weight.ndim > 1]
    vectors = [weight for weight in network.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
    schedule = LambdaLR(optimiser, lambda step: 1 - step / len(order))
    network.train()
    for rows in order:
        inputs, labels = padded(data, rows)
        loss = cross_entropy(network(**inputs).logits, labels, reduction="sum") * (world / recipe.batch_size)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), recipe.max_grad_norm)
        optimiser.step()
        schedule.step()
        note(loss.item())


def padded(data: Examples, rows: IntArray) -> tuple[dict[str, Tensor], Tensor]:
    """Return the inputs of a BERT, padded to the longest of the rows, and the labels."""
    ids = pad_sequence(
        [torch.from_numpy(data.encoded.ids[row]).long() for row in rows], batch_first=True, padding_value=data.pad_id
    )
    lengths = torch.from_numpy(data.encoded.lengths[rows])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask}, torch.from_numpy(data.labels[rows])


def in_turn(rows: IntArray, lengths: IntArray, rank: int, world: int) -> IntArray:
    """Return what a process takes of a batch as PyTorch's DistributedSampler deals it."""
    del lengths
    return rows[rank::world]


def by_length(rows: IntArray, lengths: IntArray, rank: int, world: int) -> IntArray:
    """Return what a process takes of a batch as raysample deals it."""
    (mine,) = length_balanced_split(rows, lengths, rank, world)
    return mine


def together(work: Work, world: int, dealt: Dealing = in_turn, under_way: Event | None = None) -> Pace:
    """Train with DDP over gloo in `world` new processes; the losses are means over all of them.

    The event is set when a quarter of the steps are made.
    """
    began = time.perf_counter()
    reached = multiprocessing.get_context("spawn").Event()
    with tempfile.TemporaryDirectory(prefix="raysample-ddp-") as folder:
        context = multiprocessing.spawn(one_of, args=(work, world, dealt, folder, reached), nprocs=world, join=False)
        while not context.join(timeout=0.2):
            if under_way is not None and reached.is_set():
                under_way.set()
        found = [pickle.loads(Path(folder, str(rank)).read_bytes()) for rank in range(world)]
    losses = np.mean([watch.losses for watch in found], axis=0)
    return Pace(losses.tolist(), found[0].wall, found[0].cpu, time.perf_counter() - began)


def one_of(rank: int, work: Work, world: int, dealt: Dealing, folder: str, reached: Event) -> None:
    """Be one of the processes: train on this rank's rows of every batch, and leave what was noted in a file."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    watch = Watch()

    def note(loss: float) -> None:
        watch.step(loss)
        if len(watch.losses) == work.steps // 4:
            reached.set()

    shares = [dealt(rows, work.data.encoded.lengths, rank, world) for rows in work.order]
    train(DistributedDataParallel(work.network()), work, shares, note, world)
    distributed.destroy_process_group()
    Path(folder, str(rank)).write_bytes(pickle.dumps(watch))


def processes() -> list[psutil.Process]:
    """Return the processes that `together` has started; one that is just ending is none of them."""
    found = []
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if any("spawn_main" in word for word in process.cmdline()):
                found.append(process)
    return found
