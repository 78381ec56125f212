"""Data-parallel fine-tuning with Ray Train: gloo on CPUs, NCCL on GPUs, running the loop of `raysample.training`."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback

from raysample.core.errors import RaysampleError, TrainingError
from raysample.core.progress import Reporter
from raysample.execution.ray import failures, progress_actor, session
from raysample.training import DistributedContext
from raysample.training.fine_tuning import Job, Outcome, execute, steps

# Workers that die before the first saved state are not counted there: this bounds their restarts.
MOST_FAILURES = 100
# Interval at which an elastic run checks whether nodes joined or left.
RESIZE_SECONDS = 60.0


def _worker(settings: dict[str, Any]) -> Outcome:
    """Run the job on one Ray Train worker and return its outcome."""
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    if not torch.cuda.is_available():
        # One CPU is left to Ray's own processes: threads that meet at barriers all wait when one of them is preempted.
        torch.set_num_threads(max(1, (settings["cpus"] - 1) // world))
    return execute(
        settings["job"],
        DistributedContext(rank, world, str(ray.train.torch.get_device())),
        attempt=settings["attempt"],
        progress=progress_actor.Writer(settings["board"], "fine-tune") if rank == 0 else None,
        urgent=Notices(),
    )


class Notices:
    """Reports each preemption notice once; a collective call, so all workers must call it at the same step."""

    def __init__(self) -> None:
        self.known: Any = None

    def __call__(self) -> bool:
        """Return whether there is a new preemption notice."""
        found = ray.train.get_preemption_info()
        news, self.known = found is not None and found != self.known, found
        return news


class _GivesUp(ray.train.UserCallback):  # type: ignore[misc]  # ray is not followed
    """Ends a run after an error of raysample, which would only recur; Ray Train restarts workers after other errors."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Raise the first error of raysample among the workers' exceptions."""
        del run_context
        for error in worker_exceptions.values():
            if (cause := failures.own_error(error)) is not None:
                raise cause


class _Trainer(ray.train.torch.TorchTrainer):  # type: ignore[misc]  # ray is not followed
    """A TorchTrainer that keeps Ctrl-C a KeyboardInterrupt and starts no dataset actor.

    Ray Train's signal handler exits with code 0, as if the run had succeeded, and stays installed after the training,
    where it would swallow Ctrl-C during scoring. Its dataset actor is useless here, since `raysample.training` reads
    the rows itself: it would take memory, and wake up 100 times a second beside workers that wait for each other.
    """

    def _create_default_callbacks(self) -> list[Any]:
        """Return Ray Train's callbacks without the one that starts the dataset actor."""
        return [one for one in super()._create_default_callbacks() if not isinstance(one, DatasetsCallback)]

    def _register_sigint_handler(self, controller: Any) -> None:
        """Do not install Ray Train's SIGINT handler."""
        del controller


def fine_tune_on_ray(job: Job, workers: tuple[int, int], gpus: float, reporter: Reporter) -> Outcome:
    """Run a job on Ray Train workers and return rank 0's outcome.

    A worker group that loses a worker restarts from the newest state, with as many workers, between minimum and
    maximum, as the cluster has resources for.

    Args:
        job: the fine-tuning; without a folder it has no saved states, and fails with its first worker.
        workers: minimum and maximum number of workers.
        gpus: GPUs per worker.
        reporter: shows the progress.

    Raises:
        ClusterError: the cluster cannot hold the minimum number of workers.
        TrainingError: a worker fails for a lasting reason, or too often without progress.
    """
    session.require_resources(workers[0], 1, gpus, "fine-tuning")
    with tempfile.TemporaryDirectory(prefix="raysample-train-") as scratch, _watched(job, reporter) as on:
        trainer = _Trainer(
            _worker,
            train_loop_config={"job": job, "board": on, "cpus": session.cpus(), "attempt": uuid.uuid4().hex},
            scaling_config=ray.train.ScalingConfig(
                num_workers=workers[0] if workers[0] == workers[1] else workers,
                elastic_resize_monitor_interval_s=RESIZE_SECONDS,
                use_gpu=gpus > 0,
                resources_per_worker={"CPU": 1, **({"GPU": gpus} if gpus else {})},
            ),
            run_config=ray.train.RunConfig(
                name="fine-tune",
                storage_path=scratch,
                callbacks=[_GivesUp()],
                # Ray Train would wait forever for resources: two failures of the controller end the run. Failures
                # without progress are counted with the saved states.
                failure_config=ray.train.FailureConfig(
                    max_failures=0 if job.folder is None else MOST_FAILURES, controller_failure_limit=2
                ),
            ),
        )
        try:
            outcome: Outcome = trainer.fit().return_value
        except ray.train.TrainingFailedError as error:
            raise _cause(error) from error
    return outcome


@contextmanager
def _watched(job: Job, reporter: Reporter) -> Iterator[Any]:
    """Yield a progress actor whose notes move a progress bar."""
    with reporter.bar("fine-tune", steps(job), "steps") as bar:

        def show(notes: dict[str, tuple[int, int, float]]) -> None:
            """Move the bar to the steps done, with the loss."""
            for done, _, loss in notes.values():
                bar.to(done, f"loss {loss:.3f}")

        with progress_actor.watch_progress(show) as on:
            yield on
        bar.to(steps(job))


def _cause(error: Any) -> RaysampleError:
    """Return the first error of raysample behind a failed training, else a TrainingError."""
    found = [*getattr(error, "worker_failures", {}).values(), getattr(error, "controller_failure", None)]
    for failure in found:
        if (cause := failures.own_error(failure)) is not None:
            return cause
    return TrainingError(f"fine-tuning failed on a worker: {error}", "run with --debug for the whole trace")
