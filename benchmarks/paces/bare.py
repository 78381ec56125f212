"""The training loop that one would write by hand, in this process or with DDP over several."""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.rnn import pad_sequence
from torch.optim.lr_scheduler import LambdaLR

from paces.material import Work
from paces.pace import Pace, Watch
from raysample.training import Examples


def alone(work: Work) -> Pace:
    """Train in this process."""
    watch = Watch()
    train(work.network(), work, work.order, watch)
    return watch.pace()


def train(network: nn.Module, work: Work, order: Sequence[NDArray[np.int64]], watch: Watch) -> None:
    """Train on the rows of `order`, one batch after the other."""
    data, recipe = work.data, work.recipe
    matrices = [weight for weight in network.parameters() if weight.ndim > 1]
    vectors = [weight for weight in network.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
    schedule = LambdaLR(optimiser, lambda step: 1 - step / len(order))
    network.train()
    for rows in order:
        inputs, labels = padded(data, rows)
        loss = cross_entropy(network(**inputs).logits, labels)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), recipe.max_grad_norm)
        optimiser.step()
        schedule.step()
        watch.step(loss.item())


def padded(data: Examples, rows: NDArray[np.int64]) -> tuple[dict[str, Tensor], Tensor]:
    """Return the inputs of a BERT, padded to the longest of the rows, and the labels."""
    ids = pad_sequence(
        [torch.from_numpy(data.encoded.ids[row]).long() for row in rows], batch_first=True, padding_value=data.pad_id
    )
    lengths = torch.from_numpy(data.encoded.lengths[rows])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask}, torch.from_numpy(data.labels[rows])


def together(work: Work, world: int) -> Pace:
    """Train with DDP over gloo in `world` new processes; the losses are means over all of them."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="raysample-ddp-") as folder:
        multiprocessing.spawn(one_of, args=(work, world, folder), nprocs=world)
        found = [pickle.loads(Path(folder, str(rank)).read_bytes()) for rank in range(world)]
    losses = np.mean([watch.losses for watch in found], axis=0)
    return Pace(losses.tolist(), found[0].wall, found[0].cpu, time.perf_counter() - began)


def one_of(rank: int, work: Work, world: int, folder: str) -> None:
    """Be one of the processes: train on this rank's rows of every batch, and leave what was noted in a file."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    watch = Watch()
    train(DistributedDataParallel(work.network()), work, [rows[rank::world] for rows in work.order], watch)
    distributed.destroy_process_group()
    Path(folder, str(rank)).write_bytes(pickle.dumps(watch))
