"""Retrainings of a comparison as Ray tasks: small trainings avoid the start-up of a worker group and fill all CPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import ray
import torch

from raysample.core.errors import TrainingError
from raysample.core.numerics.precision import device
from raysample.core.progress import Reporter
from raysample.execution.ray import failures, progress_actor, session
from raysample.training import DistributedContext
from raysample.training.fine_tuning import Job, Outcome, execute


@ray.remote(max_retries=2)
def _execute(job: Job, on: Any, key: str) -> Outcome:
    """Run one training in a task, with its progress written to the progress actor."""
    # Each task has one CPU: more threads would compete with the tasks beside it.
    torch.set_num_threads(1)
    return execute(job, DistributedContext(device=device()), progress=progress_actor.Writer(on, key))


def fine_tune_many(
    jobs: Sequence[Job], workers: int | None, gpus: float, reporter: Reporter
) -> Iterator[tuple[Job, Outcome]]:
    """Run jobs, at most `workers` at a time (all CPUs by default); yield each with its outcome when it ends."""
    at_once = min(len(jobs), workers or session.slots(1, gpus))
    session.require_resources(at_once, 1, gpus, "retraining the arms")
    task = _execute.options(num_cpus=1, num_gpus=gpus)
    waiting = list(enumerate(jobs))[::-1]
    running: dict[Any, Job] = {}
    with (
        reporter.bar("retrain", len(jobs), "runs") as bar,
        progress_actor.watch_progress(lambda notes: bar.to(_share(notes))) as on,
    ):
        try:
            while waiting or running:
                # Submit lazily: a queued task would hold its resources request and its arguments in the object store.
                while waiting and len(running) < at_once:
                    place, job = waiting.pop()
                    running[task.remote(job, on, str(place))] = job
                ready, _ = ray.wait(list(running), num_returns=1)
                yield running.pop(ready[0]), failures.result(ready[0], _broken)
            bar.to(len(jobs))
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def _share(notes: dict[str, tuple[int, int, float]]) -> float:
    """Return the sum of the finished shares of all running jobs."""
    return sum(done / total for done, total, _ in notes.values())


def _broken(error: BaseException) -> TrainingError:
    """Return the error for a task that failed without an error of raysample."""
    return TrainingError(f"retraining an arm failed: {error}", "finished arms are kept; mend the cause and run again")
