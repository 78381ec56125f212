"""Several workers with gloo in processes of their own: replicas, shards, other numbers of them; no Ray."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from runs import a_job, curve, in_folder, run, written
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from raysample.checkpoints import CheckpointSet
from raysample.fine_tuning import Job
from raysample.storage import write_json

HERE = Path(__file__).parent


def group(workers: int, jobs: Sequence[tuple[Job, int | None]], folder: Path) -> None:
    """Run jobs one after the other with so many workers; each to its end, or until rank 1 dies after a step."""
    folder.mkdir(parents=True)
    told = [{"folder": str(Path(str(job.folder)).parent), "run": job.folder, "recipe": job.config.plain(), "dies": dies}
            for job, dies in jobs]
    write_json(str(folder / "jobs.json"), told)
    started = [
        subprocess.Popen([sys.executable, str(HERE / "worker.py"), str(folder), str(rank), str(workers)])
        for rank in range(workers)
    ]
    codes = [process.wait(timeout=300) for process in started]
    assert codes == [0] * workers


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Return the job without dropout, finished in this process."""
    job = a_job(tmp_path_factory.mktemp("plain"), micro_batch_size=3)
    run(job)
    return job
