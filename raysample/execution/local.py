"""The executor of this process: sequential, without Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from raysample.core.errors import RaysampleError
from raysample.core.map_fn import threads
from raysample.core.numerics import memory
from raysample.core.numerics.precision import device
from raysample.core.progress import Reporter
from raysample.execution.base import Demand
from raysample.influence.shards import ScoreJob, ShardOutcome, ShardScorer, prepare_scoring
from raysample.training import DistributedContext
from raysample.training.fine_tuning import Job, Outcome, execute, steps

T = TypeVar("T")


class LocalExecutor:
    """Runs everything in this process, sequentially; needs no Ray."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    def fine_tune(self, job: Job, workers: tuple[int, int], reporter: Reporter) -> Outcome:
        """Run one fine-tuning with one worker, whatever `workers` is: the global batches are the same."""
        del workers
        with reporter.bar("fine-tune", steps(job), "steps") as bar:
            return execute(
                job,
                DistributedContext(device=device()),
                progress=lambda step, _, loss: bar.to(step, f"loss {loss:.3f}"),
            )

    def fine_tune_many(
        self, jobs: Sequence[Job], workers: int | None, reporter: Reporter
    ) -> Iterator[tuple[Job, Outcome]]:
        """Run fine-tunings one after the other."""
        del workers
        with reporter.bar("retrain", len(jobs), "runs") as bar:
            for done, job in enumerate(jobs):
                yield job, execute(job, DistributedContext(device=device()))
                bar.to(done + 1)

    def prepare(self, job: ScoreJob, reporter: Reporter) -> None:
        """Compute references and landmarks in this process."""
        prepare_scoring(job, reporter.say)

    def score(
        self, job: ScoreJob, shards: Sequence[int], workers: int | None, reporter: Reporter
    ) -> Iterator[ShardOutcome]:
        """Score shards one after the other; the next shard is read in the background."""
        del workers, reporter
        return ShardScorer(job).score_all(shards)

    def memory_per_worker(self, workers: int) -> int | None:
        """Return most of the free memory of this process's device, in bytes."""
        del workers
        return memory.free(device())

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """Map with threads."""
        return threads(function, items)

    def once(self, function: Callable[[], T]) -> T:
        """Run the function in this process."""
        return function()

    def on_devices(self, functions: Sequence[Callable[[], T]]) -> Iterator[T]:
        """Run the functions in this process, one after the other."""
        return (function() for function in functions)

    def slots(self) -> int:
        """Return 1: this process."""
        return 1

    def refusals(self, demands: Sequence[Demand]) -> list[RaysampleError]:
        """Return no errors: every demand is met by one process."""
        del demands
        return []
