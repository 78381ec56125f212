"""Where work runs: `Engine` is what the workflow needs, `raysample.execution.local` works in this process.

`raysample.execution.ray` works on Ray.

Both run the same functions on the same shards with the same batches, so the scores are equal. Fine-tuning on several
workers sees the same global batches, but draws other dropout masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from raysample.core.errors import RaysampleError
from raysample.core.progress import Reporter
from raysample.influence.shards import ScoreJob, ShardOutcome
from raysample.training.fine_tuning import Job, Outcome

T = TypeVar("T")


@dataclass(frozen=True)
class Demand:
    """Workers that a step needs at a time: for what, how many, and of which kind. The engine knows how large."""

    what: str
    workers: int
    kind: Literal["training", "scoring"] = "training"


class Executor(AbstractContextManager["Executor"], Protocol):
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

    def memory_per_worker(self, workers: int) -> int | None:
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
