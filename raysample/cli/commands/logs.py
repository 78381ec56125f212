"""Commands on a run's log."""

from __future__ import annotations

from raysample.cli.tables import contents_table
from raysample.core.config import RunConfig
from raysample.core.progress import Reporter
from raysample.workflow import logs
from raysample.workflow.opening import open_run


def run_compact(config: RunConfig, reporter: Reporter) -> None:
    """Update the log's contents."""
    with open_run(config, reporter, "log") as pipeline:
        contents = logs.compacted(pipeline)
        reporter.console.print(contents_table(contents))
        reporter.say(f"contents: {contents.uri}")


def run_expand(config: RunConfig, reporter: Reporter) -> None:
    """Write a score table for every row of the log."""
    with open_run(config, reporter) as pipeline:
        table = logs.expanded(pipeline)
        reporter.say(f"{table.counts['scored']:,} rows with scores, {table.counts['quarantined']:,} without")
        reporter.say(f"score table: {table.uri}")
