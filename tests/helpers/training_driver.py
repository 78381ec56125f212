"""Fine-tune on a cluster in a process that may be killed: `python -m tests.helpers.training_driver JOB ADDRESS`."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from raysample.core.config import EngineConfig
from raysample.core.progress import SilentReporter
from raysample.execution.ray import fine_tuning
from raysample.execution.ray.executor import RayExecutor
from raysample.training.fine_tuning import finish_job

if __name__ == "__main__":
    # A minute between looks at the nodes would make the test take minutes.
    fine_tuning.RESIZE_SECONDS = 3.0
    job = pickle.loads(Path(sys.argv[1]).read_bytes())
    with RayExecutor(EngineConfig(address=sys.argv[2])) as engine:
        outcome = engine.fine_tune(job, job.config.workers_range, SilentReporter())
    finish_job(job, outcome)
