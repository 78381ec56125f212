"""One data-parallel fine-tuning with Ray Train: gloo on CPUs, NCCL on GPUs, the loop of `raysample.training` inside."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from raysample.errors import RaysampleError, TrainingError
from raysample.fine_tuning import Job, Outcome, execute, steps
from raysample.on_ray import board, session
from raysample.progress import Reporter
from raysample.training import Place


def _worker(settings: dict[str, Any]) -> Outcome:
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    if not torch.cuda.is_available():
        torch.set_num_threads(settings["threads"])
    place = Place(rank, world, str(ray.train.torch.get_device()))
    return execute(
        settings["job"],
        place,
        # With one worker prepare_model leaves the module as it is; with more it wraps it in DDP.
        wrap=ray.train.torch.prepare_model,
        progress=board.Writer(settings["board"], "fine-tune") if rank == 0 else None,
    )


class _Trainer(ray.train.torch.TorchTrainer):  # type: ignore[misc]  # ray is not followed
    """A TorchTrainer that leaves Ctrl-C what it is, a KeyboardInterrupt.

    Ray Train's handler ends the process with code 0 as if all were well, and stays after the training: it would swallow
    every later Ctrl-C, such as one while scoring.
    """

    def _register_sigint_handler(self, controller: Any) -> None:
        del controller


def fine_tune(job: Job, workers: int, gpus: float, reporter: Reporter) -> Outcome:
    """Run a job on Ray Train workers and return rank 0's outcome; raises TrainingError when a worker fails."""
    session.require(workers, 1, gpus, "fine-tuning")
    # Ray's own processes want a CPU, too: threads that wait for each other at barriers are held up when one of them is
    # preempted.
    threads = max(1, (session.cpus() - 1) // workers)
    with tempfile.TemporaryDirectory(prefix="raysample-train-") as scratch, _watched(job, reporter) as on:
        trainer = _Trainer(
            _worker,
            train_loop_config={"job": job, "board": on, "threads": threads},
            scaling_config=ray.train.ScalingConfig(
                num_workers=workers,
                use_gpu=gpus > 0,
                resources_per_worker={"CPU": 1, **({"GPU": gpus} if gpus else {})},
            ),
            run_config=ray.train.RunConfig(
                name="fine-tune",
                storage_path=scratch,
                # Ray Train would wait for ever for resources; two failures of the controller are enough. A failed
                # worker is not tried again: that would start from the first step, and most failures would repeat.
                failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=2),
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

        with board.watched(show) as on:
            yield on
        bar.to(steps(job))


def _cause(error: Any) -> RaysampleError:
    for failure in getattr(error, "worker_failures", {}).values():
        cause = getattr(failure, "cause", failure)
        if isinstance(cause, RaysampleError):
            return cause
    return TrainingError(f"fine-tuning failed on a worker: {error}", "run with --debug for the whole trace")
