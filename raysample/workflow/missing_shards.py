"""The shards of a scoring that are not done yet: planned, scored, counted, and how far they are told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from raysample.core.config import ScoreConfig
from raysample.core.errors import ScoreError
from raysample.core.progress import Bar, Pace, Reporter
from raysample.data.corpus import Corpus
from raysample.execution.base import Executor
from raysample.influence.shards import ScoreJob, ShardOutcome, finished, needs_preparing
from raysample.influence.shards.memory_plan import memory_plan
from raysample.tracking import Tracker

METRICS_EVERY_SECONDS = 10.0


@dataclass
class ScoringProgress:
    """Counts what becomes of the shards as they end, and tells it.

    The bar is over the rows that were missing; the metrics count those that were scored before, too. Their step is the
    number of rows that are settled.
    """

    bar: Bar
    tracker: Tracker
    before: Sequence[ShardOutcome] = ()
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        self.rows, self.last = 0, time.monotonic()
        self.scored = sum(outcome.scored for outcome in self.before)
        self.quarantined = sum(outcome.quarantined for outcome in self.before)
        self.crashes = 0

    def add(self, outcome: ShardOutcome) -> None:
        """Count one more shard."""
        self.rows += outcome.rows
        self.scored += outcome.scored
        self.quarantined += outcome.quarantined
        self.crashes += outcome.crashes
        self.pace.to(self.rows)
        self.bar.to(self.rows, self.note)
        if time.monotonic() - self.last >= METRICS_EVERY_SECONDS:
            self.tell()

    @property
    def note(self) -> str:
        """What went wrong so far, in words."""
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


def score_missing_shards(
    job: ScoreJob, corpus: Corpus, engine: Executor, reporter: Reporter, tracker: Tracker
) -> tuple[list[ShardOutcome], dict[str, float]]:
    """Score the shards that are not done; return what became of every one, and what it cost beside their seconds.

    Raises:
        ScoreError: more rows were set aside than `score.max_quarantined` allows.
    """
    outcomes = [done for shard in corpus.shards if (done := finished(job.folder, shard)) is not None]
    there, cost = {outcome.shard for outcome in outcomes}, {"prepare_seconds": 0.0}
    missing = [shard for shard in corpus.shards if shard.index not in there]
    if there:
        reporter.say(f"  {len(there)} of {len(corpus.shards)} shards were finished before, {len(missing)} to do")
    _check_lost(outcomes, corpus, job)
    if not missing:
        return outcomes, cost
    workers = min(len(missing), job.config.workers or len(missing))
    plan = memory_plan(job, corpus, job.config.memory_bytes or engine.memory_per_worker(workers))
    if plan is not None:
        reporter.say(f"  memory of a worker: {plan}")
        cost |= {
            "models": plan.models,
            "models_held": plan.max_resident_models or plan.models,
            "worker_bytes": plan.needed,
        }
        job = replace(job, max_resident_models=plan.max_resident_models)
    began = time.perf_counter()
    if needs_preparing(job):
        engine.prepare(job, reporter)
    cost["prepare_seconds"] = round(time.perf_counter() - began, 3)
    with reporter.bar("score", sum(shard.rows for shard in missing), "rows") as bar:
        advance = ScoringProgress(bar, tracker, tuple(outcomes))
        try:
            for outcome in engine.score(job, [shard.index for shard in missing], job.config.workers, reporter):
                outcomes.append(outcome)
                advance.add(outcome)
                if outcome.quarantined:
                    _check_lost(outcomes, corpus, job)
        finally:
            advance.tell()
    return outcomes, cost


def _check_lost(outcomes: Sequence[ShardOutcome], corpus: Corpus, job: ScoreJob) -> None:
    check_losses(sum(outcome.quarantined for outcome in outcomes), corpus.rows, job.config, job.folder)


def check_losses(lost: int, rows: int, config: ScoreConfig, folder: str) -> None:
    """Raise ScoreError where more rows were set aside than the configuration allows."""
    if lost > config.max_quarantined * rows:
        raise ScoreError(
            f"{lost:,} of {rows:,} rows could not be scored, more than score.max_quarantined="
            f"{config.max_quarantined:g} allows",
            f"see the quarantine files in {folder!r}, mend the cause, then `raysample retry` (with --log for a log);"
            " or raise the limit",
        )
