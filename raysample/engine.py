"""Where work runs. `Engine` is what the verbs need; `LocalEngine` does it in this process, `raysample.on_ray` on Ray.

Both run the same functions on the same shards with the same batches, so the scores are equal. Fine-tuning on several
workers sees the same global batches, but draws other dropout masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeVar

from raysample.errors import RaysampleError
from raysample.fine_tuning import Job, Outcome, execute, steps
from raysample.numerics import memory
from raysample.numerics.precision import device
from raysample.progress import Reporter
from raysample.scoring import ScoreJob, ShardOutcome, ShardScorer, prepare
from raysample.spreading import threads
from raysample.training import Place

T = TypeVar("T")


@dataclass(frozen=True)
class Demand:
    """Workers that a step needs at a time: for what, how many, and of which kind. The engine knows how large."""

    what: str
    workers: int
    kind: Literal["training", "scoring"] = "training"


class Engine(AbstractContextManager["Engine"], Protocol):
    """Runs one large fine-tuning, many small ones, a scoring, or any pure function over parts of a table."""

    def fine_tune(self, job: Job, workers: tuple[int, int], reporter: Reporter) -> Outcome:
        """Run one data-parallel fine-tuning on the fewest to the most workers."""
        ...

    def fine_tune_many(
        self, jobs: Sequence[Job], workers: int | None, reporter: Reporter
    ) -> Iterator[tuple[Job, Outcome]]:
        """Run independent fine-tunings, several at a time; yield each as it ends."""
        ...

    def prepare(self, job: ScoreJob, reporter: Reporter) -> None:
        """Prepare what a scoring needs before its shards: references, landmarks."""
        ...

    def score(
        self, job: ScoreJob, shards: Sequence[int], workers: int | None, reporter: Reporter
    ) -> Iterator[ShardOutcome]:
        """Score shards; yield what became of each as it ends."""
        ...

    def room(self, workers: int) -> int | None:
        """Return the bytes that each of up to so many scoring workers may take; None where nobody knows."""
        ...

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """Map a picklable, pure function over items; yield the results in the order of the items."""
        ...

    def once(self, function: Callable[[], T]) -> T:
        """Run a picklable function once, where models are run: on a worker with the device of a scoring actor."""
        ...

    def slots(self) -> int:
        """Return how many workers of one CPU, with the GPUs that each wants, can be at work at a time."""
        ...

    def refusals(self, demands: Sequence[Demand]) -> list[RaysampleError]:
        """Return an error for each demand that can never be met here."""
        ...


class LocalEngine:
    """Everything in this process, one thing after the other; needs no Ray."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    def fine_tune(self, job: Job, workers: tuple[int, int], reporter: Reporter) -> Outcome:
        """Run one fine-tuning with one worker, whatever `workers` says: the global batches are the same."""
        del workers
        with reporter.bar("fine-tune", steps(job), "steps") as bar:
            return execute(job, Place(device=device()), progress=lambda step, _, loss: bar.to(step, f"loss {loss:.3f}"))

    def fine_tune_many(
        self, jobs: Sequence[Job], workers: int | None, reporter: Reporter
    ) -> Iterator[tuple[Job, Outcome]]:
        """Run fine-tunings one after the other."""
        del workers
        with reporter.bar("retrain", len(jobs), "runs") as bar:
            for done, job in enumerate(jobs):
                yield job, execute(job, Place(device=device()))
                bar.to(done + 1)

    def prepare(self, job: ScoreJob, reporter: Reporter) -> None:
        """Prepare it here."""
        prepare(job, reporter.say)

    def score(
        self, job: ScoreJob, shards: Sequence[int], workers: int | None, reporter: Reporter
    ) -> Iterator[ShardOutcome]:
        """Score shards one after the other; the next one is read meanwhile."""
        del workers, reporter
        yield from ShardScorer(job).score_all(shards)

    def room(self, workers: int) -> int | None:
        """Most of the memory that is free on this process's device."""
        del workers
        return memory.free(device())

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """Map with threads."""
        return threads(function, items)

    def once(self, function: Callable[[], T]) -> T:
        """Run it here."""
        return function()

    def slots(self) -> int:
        """One: this process."""
        return 1

    def refusals(self, demands: Sequence[Demand]) -> list[RaysampleError]:
        """None: all work is done here, by one."""
        del demands
        return []
