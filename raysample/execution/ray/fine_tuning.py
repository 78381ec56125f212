"""One data-parallel fine-tuning with Ray Train: gloo on CPUs, NCCL on GPUs, the loop of `raysample.training` inside."""

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
from raysample.execution.ray import progress_actor, session
from raysample.training import DistributedContext
from raysample.training.fine_tuning import Job, Outcome, execute, steps

# Workers that die before the training begins leave no trace among its states.
MOST_FAILURES = 100
# How often a run with a range of workers looks whether nodes have come or gone.
RESIZE_SECONDS = 60.0


def _worker(settings: dict[str, Any]) -> Outcome:
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    if not torch.cuda.is_available():
        # Ray's own processes want a CPU, too: threads that wait for each other at barriers are held up when one of them
        # is preempted.
        torch.set_num_threads(max(1, (settings["cpus"] - 1) // world))
    return execute(
        settings["job"],
        DistributedContext(rank, world, str(ray.train.torch.get_device())),
        attempt=settings["attempt"],
        progress=progress_actor.Writer(settings["board"], "fine-tune") if rank == 0 else None,
        urgent=Notices(),
    )


class Notices:
    """Tells once of every notice that nodes will be taken away; all workers must ask together."""

    def __init__(self) -> None:
        self.known: Any = None

    def __call__(self) -> bool:
        """Tell whether there is a notice that was not there before."""
        found = ray.train.get_preemption_info()
        news, self.known = found is not None and found != self.known, found
        return news


class _GivesUp(ray.train.UserCallback):  # type: ignore[misc]  # ray is not followed
    """Ends a run whose workers failed with an error that would only come again: Ray Train starts all others anew."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Raise the first error that tells a user what to do."""
        del run_context
        for error in worker_exceptions.values():
            if (cause := _told(error)) is not None:
                raise cause


class _Trainer(ray.train.torch.TorchTrainer):  # type: ignore[misc]  # ray is not followed
    """A TorchTrainer that leaves Ctrl-C what it is, a KeyboardInterrupt, and starts no actor for datasets.

    Ray Train's handler ends the process with code 0 as if all were well, and stays after the training: it would swallow
    every later Ctrl-C, such as one while scoring. Its actor for datasets would hand out none, since rows are read here
    by the order of `raysample.training`: a process that takes memory, and wakes up 100 times a second beside workers
    that wait for each other.
    """

    def _create_default_callbacks(self) -> list[Any]:
        return [one for one in super()._create_default_callbacks() if not isinstance(one, DatasetsCallback)]

    def _register_sigint_handler(self, controller: Any) -> None:
        del controller


def fine_tune_on_ray(job: Job, workers: tuple[int, int], gpus: float, reporter: Reporter) -> Outcome:
    """Run a job on Ray Train workers and return rank 0's outcome.

    A group of workers that loses one is started anew and goes on from the newest state, with as many workers, between
    the fewest and the most, as there is room for.

    Args:
        job: what to do; one without a folder has no states to go on from, and fails with its first worker.
        workers: the fewest and the most.
        gpus: of each worker.
        reporter: is told how far it is.

    Raises:
        ClusterError: the cluster has no room for the fewest workers.
        TrainingError: a worker fails for a reason that stays, or too often at one place.
    """
    session.require(workers[0], 1, gpus, "fine-tuning")
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
                # Ray Train would wait for ever for resources; two failures of the controller are enough. How often a
                # run may fail without getting on is counted with its states.
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
    with reporter.bar("fine-tune", steps(job), "steps") as bar:

        def show(notes: dict[str, tuple[int, int, float]]) -> None:
            for done, _, loss in notes.values():
                bar.to(done, f"loss {loss:.3f}")

        with progress_actor.watch_progress(show) as on:
            yield on
        bar.to(steps(job))


def _cause(error: Any) -> RaysampleError:
    failures = [*getattr(error, "worker_failures", {}).values(), getattr(error, "controller_failure", None)]
    for failure in failures:
        if (cause := _told(failure)) is not None:
            return cause
    return TrainingError(f"fine-tuning failed on a worker: {error}", "run with --debug for the whole trace")


def _told(failure: Any) -> RaysampleError | None:
    """Return what a failure says in our own words, if it does."""
    while failure is not None and not isinstance(failure, RaysampleError):
        failure = getattr(failure, "cause", None) or failure.__cause__
    return failure
