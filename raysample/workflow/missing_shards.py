"""The missing shards of a scoring: finding them, preparing them, and counting outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from raysample.core.config import ScoreConfig
from raysample.core.errors import ScoreError
from raysample.core.progress import Bar, Pace
from raysample.data.corpus import Corpus, Shard
from raysample.influence.shards import ScoreJob, ShardOutcome, finished, needs_preparing
from raysample.influence.shards.memory_plan import memory_plan
from raysample.tracking import Tracker
from raysample.workflow.context import RunContext

METRICS_EVERY_SECONDS = 10.0


@dataclass
class ScoringProgress:
    """Counts the outcomes of shards, shows progress and sends metrics.

    The bar covers the missing rows; the metrics also count rows that were scored before. The metrics' step is the
    number of finished rows. `check` is called with the number of quarantined rows whenever it grows.
    """

    bar: Bar
    tracker: Tracker
    before: Sequence[ShardOutcome] = ()
    check: Callable[[int], None] = lambda _: None
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        self.outcomes = list(self.before)
        self.rows, self.last = 0, time.monotonic()
        self.scored = sum(outcome.scored for outcome in self.before)
        self.quarantined = sum(outcome.quarantined for outcome in self.before)
        self.crashes = 0

    def add(self, outcome: ShardOutcome) -> None:
        """Count one more shard; raises what `check` raises."""
        self.outcomes.append(outcome)
        self.rows += outcome.rows
        self.scored += outcome.scored
        self.quarantined += outcome.quarantined
        self.crashes += outcome.crashes
        self.pace.to(self.rows)
        self.bar.to(self.rows, self.note)
        if time.monotonic() - self.last >= METRICS_EVERY_SECONDS:
            self.tell()
        if outcome.quarantined:
            self.check(self.quarantined)

    @property
    def note(self) -> str:
        """Quarantined rows and crashed workers so far, as text."""
        found = [f"{self.quarantined:,} rows set aside"] if self.quarantined else []
        if self.crashes:
            found.append(f"{self.crashes} worker{'s' * (self.crashes > 1)} crashed")
        return ", ".join(found)

    def tell(self) -> None:
        """Send the metrics."""
        self.last = time.monotonic()
        values = {"scored_rows": self.scored, "quarantined_rows": self.quarantined, "worker_crashes": self.crashes}
        rate = {"rows_per_second": self.pace.rate} if self.pace.rate else {}
        self.tracker.metrics({**values, **rate}, step=self.scored + self.quarantined)


@dataclass(frozen=True)
class ShardWork:
    """The shards of a table: which are finished, which are missing.

    Attributes:
        job: the scoring job.
        corpus: the corpus of the shards.
        finished: outcomes of earlier runs.
        missing: the shards to score.
        cost: cost of the preparations.
    """

    job: ScoreJob
    corpus: Corpus
    finished: tuple[ShardOutcome, ...]
    missing: tuple[Shard, ...]
    cost: dict[str, float]

    @property
    def check(self) -> Callable[[int], None]:
        """Function that raises ScoreError for more quarantined rows than `score.max_quarantined` allows."""
        return partial(check_losses, rows=self.corpus.rows, config=self.job.config, folder=self.job.folder)

    @contextmanager
    def progress(self, context: RunContext) -> Iterator[ScoringProgress]:
        """Show the progress over the missing shards; the last metrics are sent even after an error."""
        with context.reporter.bar("score", sum(shard.rows for shard in self.missing), "rows") as bar:
            progress = ScoringProgress(bar, context.tracker, self.finished, self.check)
            try:
                yield progress
            finally:
                progress.tell()


def find_missing_shards(job: ScoreJob, corpus: Corpus, context: RunContext) -> ShardWork:
    """Return the finished and the missing shards of a table.

    Raises:
        ScoreError: more rows of finished shards are quarantined than `score.max_quarantined` allows.
    """
    outcomes = tuple(done for shard in corpus.shards if (done := finished(job.folder, shard)) is not None)
    present = {outcome.shard for outcome in outcomes}
    missing = tuple(shard for shard in corpus.shards if shard.index not in present)
    if present:
        context.reporter.say(
            f"  {len(present)} of {len(corpus.shards)} shards were finished before, {len(missing)} to do"
        )
    work = ShardWork(job, corpus, outcomes, missing, {"prepare_seconds": 0.0})
    work.check(sum(outcome.quarantined for outcome in outcomes))
    return work


def prepare_missing_shards(work: ShardWork, context: RunContext) -> ShardWork:
    """Plan the memory of a worker and compute what the missing shards need: proofs, references, landmarks."""
    job, missing, cost = work.job, work.missing, dict(work.cost)
    workers = min(len(missing), job.config.workers or len(missing))
    plan = memory_plan(job, work.corpus, job.config.memory_bytes or context.executor.memory_per_worker(workers))
    if plan is not None:
        context.reporter.say(f"  memory of a worker: {plan}")
        cost |= {
            "models": plan.models,
            "models_held": plan.max_resident_models or plan.models,
            "worker_bytes": plan.needed,
        }
        job = replace(job, max_resident_models=plan.max_resident_models)
    began = time.perf_counter()
    if needs_preparing(job):
        context.executor.prepare(job, context.reporter)
    cost["prepare_seconds"] = round(time.perf_counter() - began, 3)
    return replace(work, job=job, cost=cost)


def check_losses(lost: int, rows: int, config: ScoreConfig, folder: str) -> None:
    """Raise ScoreError if more rows are quarantined than the configuration allows."""
    if lost > config.max_quarantined * rows:
        raise ScoreError(
            f"{lost:,} of {rows:,} rows could not be scored, more than score.max_quarantined="
            f"{config.max_quarantined:g} allows",
            f"see the quarantine files in {folder!r}, mend the cause, then `raysample retry` (with --log for a log);"
            " or raise the limit",
        )
