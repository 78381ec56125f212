"""The executor on Ray: Ray Train for one large fine-tuning, tasks for retrainings, Ray Data for scoring."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from raysample.core.config import EngineConfig
from raysample.core.errors import ClusterError, RaysampleError
from raysample.core.progress import Reporter
from raysample.execution.base import Demand
from raysample.execution.ray import arms, fine_tuning, map_tasks, scoring, session
from raysample.influence.shards import ScoreJob, ShardOutcome
from raysample.training.fine_tuning import Job, Outcome

T = TypeVar("T")


class RayExecutor:
    """Runs work on the cluster of an EngineConfig; use it as a context manager."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.stack.enter_context(session.cluster(self.config))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stack.close()

    def fine_tune(self, job: Job, workers: tuple[int, int], reporter: Reporter) -> Outcome:
        """Run one data-parallel fine-tuning with Ray Train."""
        return fine_tuning.fine_tune_on_ray(job, workers, self.config.gpus_per_worker, reporter)

    def fine_tune_many(
        self, jobs: Sequence[Job], workers: int | None, reporter: Reporter
    ) -> Iterator[tuple[Job, Outcome]]:
        """Run independent fine-tunings as Ray tasks."""
        return arms.fine_tune_many(jobs, workers, self.config.gpus_per_worker, reporter)

    def prepare(self, job: ScoreJob, reporter: Reporter) -> None:
        """Prepare references and landmarks in one task, with a GPU if the actors have one."""
        scoring.prepare_once(job, self.config.gpus_per_worker, reporter)

    def score(
        self, job: ScoreJob, shards: Sequence[int], workers: int | None, reporter: Reporter
    ) -> Iterator[ShardOutcome]:
        """Score shards with actors that Ray Data maps over them."""
        return scoring.score_on_ray(job, shards, workers, self.config.gpus_per_worker, reporter)

    def memory_per_worker(self, workers: int) -> int | None:
        """Return the memory budget of a scoring actor on the node, or GPU, with the least memory, in bytes."""
        return scoring.memory_per_worker(workers, self.config.gpus_per_worker)

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """Map with one task per item, a few items ahead of the consumer."""
        return map_tasks.tasks(function, items)

    def once(self, function: Callable[[], T]) -> T:
        """Run the function in one task, with a GPU if the scoring actors have one."""
        return scoring.once(function, self.config.gpus_per_worker)

    def on_devices(self, functions: Sequence[Callable[[], T]]) -> Iterator[T]:
        """Run each function in a task of its own, with a GPU if the scoring actors have one."""
        return map_tasks.device_tasks(functions, self.config.gpus_per_worker)

    def slots(self) -> int:
        """Return the number of workers that fit the cluster's CPUs and GPUs."""
        return session.slots(1, self.config.gpus_per_worker)

    def refusals(self, demands: Sequence[Demand]) -> list[RaysampleError]:
        """Return an error for each demand that exceeds the nodes of the cluster."""
        result = list[RaysampleError]()
        for demand in demands:
            cpus = scoring.ACTOR_CPUS if demand.kind == "scoring" else 1
            try:
                session.require_resources(demand.workers, cpus, self.config.gpus_per_worker, demand.what)
            except ClusterError as error:
                result.append(error)
        return result
