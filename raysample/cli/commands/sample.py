"""Commands on selections: make them, explain a row, write the pruned corpus."""

from __future__ import annotations

from raysample.cli.tables import retention_table
from raysample.core import storage
from raysample.core.config import RunConfig
from raysample.core.errors import ConfigError
from raysample.core.progress import Reporter
from raysample.data.corpus import Corpus
from raysample.data.log import Contents
from raysample.data.log.compaction import CONTENTS_MANIFEST
from raysample.data.score_table import ScoreTable
from raysample.selection import Selection, apply, explain_row
from raysample.selection.pruned_contents import apply_to_contents
from raysample.selection.pruned_corpus import Form
from raysample.workflow import logs
from raysample.workflow.budgets import select_at_budget
from raysample.workflow.checks import check_validation
from raysample.workflow.dry_run import preview_selections
from raysample.workflow.opening import open_run


def run_sample(config: RunConfig, reporter: Reporter, dry_run: bool = False, log: bool = False) -> None:
    """Write all selections, those at `sample.budget`, or with `log` those of the log's contents.

    `dry_run`: only show the effect of the selections.
    """
    if log:
        _sample_log(config, reporter, dry_run)
        return
    check_validation(config, config.sample.budget == "auto")
    if dry_run:
        for title, selection, table in preview_selections(config, reporter):
            _show_selection(reporter, title, selection, table)
        reporter.say("dry run: nothing was written")
        return
    with open_run(config, reporter) as pipeline:
        if config.sample.budget is None:
            pipeline.sample()
            reporter.say(f"selections: {pipeline.run_folder.at('selections')}")
            return
        retraining = pipeline.retraining()
        for title, selection in select_at_budget(config.sample, retraining, pipeline.run_folder):
            _show_selection(reporter, title, selection, retraining.table)
            reporter.say(f"selection: {selection.uri}")


def _sample_log(config: RunConfig, reporter: Reporter, dry_run: bool) -> None:
    """Write the selections of the log's contents."""
    if dry_run:
        raise ConfigError("--dry-run and --log do not go together yet", "leave one of them out")
    with open_run(config, reporter) as pipeline:
        for title, selection, table in logs.selections(pipeline):
            reporter.console.print(retention_table(title, selection, table))
            reporter.say(f"selection: {selection.uri}")


def _show_selection(reporter: Reporter, title: str, selection: Selection, table: ScoreTable) -> None:
    """Print a selection's retention and warnings."""
    reporter.console.print(retention_table(title, selection, table))
    for warning in selection.warnings:
        reporter.say(f"warning: {selection.name}: {warning}")


def run_explain(row_id: str, selection: str, reporter: Reporter) -> None:
    """Print why a row was kept or pruned."""
    for line in explain_row(Selection.load(selection), row_id).splitlines():
        reporter.say(line)


def run_apply(selection: str, corpus: str, output: str, source: str | None, format: Form, reporter: Reporter) -> None:
    """Write the pruned corpus, of a corpus or of a log's contents."""
    if storage.exists(storage.join(corpus, CONTENTS_MANIFEST)):
        if source is not None or format != "parquet":
            raise ConfigError("contents are applied where they lie, to Parquet", "leave --source and --format out")
        applied = apply_to_contents(Selection.load(selection), Contents.load(corpus), output)
        reporter.say(f"pruned contents: {applied.uri} ({applied.rows:,} contents in {len(applied.files):,} files)")
        return
    described = Corpus.load(corpus)
    applied = apply(Selection.load(selection), described.at(source) if source else described, output, format)
    reporter.say(f"pruned corpus: {applied.uri} ({applied.rows:,} rows in {len(applied.files):,} files)")
