"""The Executor protocol: where work runs. `execution.local` works in this process, `execution.ray` on Ray.

Both run the same functions on the same shards with the same batches, so the scores are equal. Fine-tuning on several
workers uses the same global batches, but other dropout masks.
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
    """Workers that a step needs at once: purpose, number and kind. The executor knows the resources of each kind."""

    what: str
    workers: int
    kind: Literal["training", "scoring"] = "training"


class Executor(AbstractContextManager["Executor"], Protocol):
    """Runs one large fine-tuning, many small ones, scoring, or any pure function over parts of a table.

    >>> from raysample.execution.local import LocalExecutor
    >>> with LocalExecutor() as executor:
    ...     list(executor.map(abs, [-1, 2]))
    [1, 2]
    """

    def fine_tune(self, job: Job, workers: tuple[int, int], reporter: Reporter) -> Outcome:
        """Run one data-parallel fine-tuning; `workers` is the minimum and maximum number of workers."""
        ...

    def fine_tune_many(
        self, jobs: Sequence[Job], workers: int | None, reporter: Reporter
    ) -> Iterator[tuple[Job, Outcome]]:
        """Run independent fine-tunings, at most `workers` at a time; yield each when it ends."""
        ...

    def prepare(self, job: ScoreJob, reporter: Reporter) -> None:
        """Compute what scoring needs before its shards: references, landmarks."""
        ...

    def score(
        self, job: ScoreJob, shards: Sequence[int], workers: int | None, reporter: Reporter
    ) -> Iterator[ShardOutcome]:
        """Score shards on at most `workers` workers; yield each outcome when the shard ends."""
        ...

    def memory_per_worker(self, workers: int) -> int | None:
        """Return the memory budget in bytes of each of up to `workers` scoring workers, or None if unknown."""
        ...

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """Map a picklable, pure function over items; yield the results in the order of the items."""
        ...

    def once(self, function: Callable[[], T]) -> T:
        """Run a picklable function once on a worker with the device of a scoring actor."""
        ...

    def on_devices(self, functions: Sequence[Callable[[], T]]) -> Iterator[T]:
        """Run picklable functions, each on a worker with the device of a scoring actor; yield results in order."""
        ...

    def slots(self) -> int:
        """Return the number of workers with one CPU and the configured GPUs that can run at once."""
        ...

    def refusals(self, demands: Sequence[Demand]) -> list[RaysampleError]:
        """Return an error for each demand that this executor can never meet."""
        ...
