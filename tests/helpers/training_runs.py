"""Small runs that are ended in the middle, alone or with workers in processes of their own; real models, no Ray."""

from __future__ import annotations

import pickle
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from raysample import models
from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.data.checkpoint_set import CheckpointSet
from raysample.training import DistributedContext
from raysample.training.fine_tuning import Job, execute, finish_job
from tests.helpers import warm
from tests.helpers.corpora import tiny_corpus
from tests.helpers.paths import ROOT

SPEC = ModelConfig(path="tiny", max_length=16, hidden_size=16, vocabulary_size=120, dropout=0.2)
RECIPE = FineTuneConfig(
    epochs=2,
    batch_size=8,
    learning_rate=5e-3,
    checkpoints=4,
    precision="float32",
    seed=5,
    resume={"steps": 3},
)


class Ended(BaseException):
    """What ends a run from outside."""


def a_job(folder: Path, dropout: float = 0.2, **recipe: Any) -> Job:
    """Describe 67 rows in a folder and return a job on them: 9 steps an epoch, the last batch has 3 rows."""
    corpus = tiny_corpus(folder, 67, files=1, labels=None, shard_rows=40)
    spec = SPEC.model_copy(update={"dropout": dropout})
    base = models.prepare_base(spec, corpus, str(folder / "base"))
    config = FineTuneConfig.model_validate({**RECIPE.to_dict(), **recipe})
    return Job(corpus.uri, corpus.uri, base, spec, config, folder=str(folder / "run"))


def in_folder(job: Job, folder: Path) -> Job:
    """Return the same job with another folder for what it writes."""
    return replace(job, folder=str(folder))


def ended_after(job: Job, *steps: int, place: DistributedContext = DistributedContext()) -> None:
    """Run a job several times, each time until after one of the steps."""
    for last in steps:

        def stop(step: int, of: int, loss: float, last: int = last) -> None:
            del of, loss
            if step == last:
                raise Ended

        try:
            execute(job, place, progress=stop)
        except Ended:
            continue
        raise AssertionError(f"the run was not ended at step {last}")


def run(job: Job) -> CheckpointSet:
    """Run a job to its end."""
    return finish_job(job, execute(job))


def curve(job: Job) -> pa.Table:
    """Return the curve of a finished job without its times."""
    return pq.read_table(Path(str(job.folder)) / "curve.parquet").drop_columns(["seconds"])


def written(job: Job) -> dict[str, bytes]:
    """Return what lies in the folders of a job's checkpoints and captures."""
    folder = Path(str(job.folder))
    places = [*folder.glob("step-*"), *folder.glob("capture/epoch-*")]
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for place in places for p in place.rglob("*") if p.is_file()
    }


def group(workers: int, folder: Path, *jobs: tuple[Job, tuple[int, ...], bool]) -> None:
    """Run jobs with so many workers: each is ended after some steps, goes on, and comes to its end or does not."""
    folder.mkdir(parents=True)
    (folder / "jobs").write_bytes(pickle.dumps(jobs))
    command = [*warm.python(), "-m", "tests.helpers.training_worker", str(folder)]
    started = [subprocess.Popen([*command, str(rank), str(workers)], cwd=ROOT) for rank in range(workers)]
    assert [process.wait(timeout=300) for process in started] == [0] * workers


def goes_on_bit_for_bit(job: Job, fingerprint: str, ends: Sequence[int], folder: Path) -> None:
    """Assert that a job that ends after these steps goes on to the weights, curve and files of one that ran through."""
    again = in_folder(job, folder)
    ended_after(again, *ends)
    assert run(again).fingerprint == fingerprint
    assert curve(again).equals(curve(job))
    assert written(again) == written(job)


def plain_adamw(network: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """Return AdamW of a network without layer-wise rates; matrices decay, vectors do not."""
    matrices = [weight for weight in network.parameters() if weight.ndim > 1]
    vectors = [weight for weight in network.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1.0)
