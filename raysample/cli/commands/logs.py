"""Commands on a run's log."""

from __future__ import annotations

from raysample.cli.commands import runs
from raysample.cli.tables import contents_table, retention_table, scores_table
from raysample.core.config import RunConfig
from raysample.core.errors import ConfigError
from raysample.core.progress import Reporter
from raysample.data.score_table import ScoreTable
from raysample.workflow import logs
from raysample.workflow.opening import open_run


def run_compact(config: RunConfig, reporter: Reporter) -> None:
    """Bring the log's contents up to date."""
    with open_run(config, reporter, "log") as pipeline:
        found = logs.compacted(pipeline)
        reporter.console.print(contents_table(found))
        reporter.say(f"contents: {found.uri}")


def run_score(config: RunConfig, reporter: Reporter, log: bool = False) -> None:
    """Score every training row; or with `log` the log's contents that have no scores yet."""
    if not log:
        runs.run_score_corpus(config, reporter)
        return
    with open_run(config, reporter) as pipeline:
        _tell(logs.scored(pipeline), reporter)


def run_retry(config: RunConfig, reporter: Reporter, log: bool = False) -> None:
    """Score rows again that were set aside; or with `log` contents."""
    if not log:
        runs.run_retry_corpus(config, reporter)
        return
    with open_run(config, reporter) as pipeline:
        _tell(logs.scored(pipeline, retry=True), reporter)


def run_sample(config: RunConfig, reporter: Reporter, dry_run: bool = False, log: bool = False) -> None:
    """Write the selections; or with `log` those of the log's contents."""
    if not log:
        runs.run_sample_corpus(config, reporter, dry_run)
        return
    if dry_run:
        raise ConfigError("--dry-run and --log do not go together yet", "leave one of them out")
    with open_run(config, reporter) as pipeline:
        for title, selection, table in logs.selections(pipeline):
            reporter.console.print(retention_table(title, selection, table))
            reporter.say(f"selection: {selection.uri}")


def run_expand(config: RunConfig, reporter: Reporter) -> None:
    """Put the scores of the log's contents on every row of the log."""
    with open_run(config, reporter) as pipeline:
        table = logs.expanded(pipeline)
        reporter.say(f"{table.counts['scored']:,} rows with scores, {table.counts['quarantined']:,} without")
        reporter.say(f"score table: {table.uri}")


def _tell(table: ScoreTable, reporter: Reporter) -> None:
    counts = table.counts
    lost = f", {counts['quarantined']:,} could not be scored" if counts["quarantined"] else ""
    reporter.say(f"  {counts['scored']:,} contents x {len(table.columns)} scores{lost}")
    if counts["scored"]:
        reporter.console.print(scores_table(table.statistics()))
    reporter.say(f"score table: {table.uri}")
