"""One of several workers in a process of its own: `python -m tests.helpers.training_worker FOLDER RANK WORLD`."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import torch
from torch import distributed

from raysample.training import DistributedContext, states
from raysample.training.fine_tuning import execute, finish_job
from tests.helpers.training_runs import ended_after

load_file = states.load_file


def in_reverse(place: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a state in another order than the even ranks do, as safetensors may at any time."""
    return dict(sorted(load_file(place).items(), reverse=True))


def main(folder: Path, rank: int, world: int) -> None:
    """Run each job to its end, after it was ended where it says so."""
    torch.set_num_threads(1)
    if rank % 2:
        states.load_file = in_reverse
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    for job, ends, to_the_end in pickle.loads((folder / "jobs").read_bytes()):
        ended_after(job, *ends, place=DistributedContext(rank, world))
        if not to_the_end:
            continue
        outcome = execute(job, DistributedContext(rank, world))
        if rank == 0:
            finish_job(job, outcome)
        distributed.barrier()
    distributed.destroy_process_group()


main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
