"""Commands on scores, of the training rows or of the log's contents."""

from __future__ import annotations

from raysample.cli.tables import scores_table, verification_table
from raysample.core import storage
from raysample.core.config import RunConfig
from raysample.core.progress import Reporter
from raysample.data.score_table import ScoreTable
from raysample.influence.verification import RESULT
from raysample.selection.lengths import length_warnings
from raysample.workflow import logs
from raysample.workflow.opening import open_run
from raysample.workflow.verify import verify_run


def run_score(config: RunConfig, reporter: Reporter, log: bool = False) -> None:
    """Score every training row; or with `log` the log's contents that have no scores yet."""
    if log:
        with open_run(config, reporter) as pipeline:
            _show_log_scores(logs.scored(pipeline), reporter)
        return
    with open_run(config, reporter, "score") as pipeline:
        table = pipeline.scores()
        if table.counts["scored"]:
            reporter.console.print(scores_table(table.statistics()))
        for warning in length_warnings(table, table.columns):
            reporter.say(f"warning: {warning}")
        reporter.say(f"score table: {table.uri}")


def run_retry(config: RunConfig, reporter: Reporter, log: bool = False) -> None:
    """Score the quarantined rows again; or with `log` the quarantined contents."""
    if log:
        with open_run(config, reporter) as pipeline:
            _show_log_scores(logs.scored(pipeline, retry=True), reporter)
        return
    with open_run(config, reporter, "score") as pipeline:
        reporter.say(f"score table: {pipeline.retry().uri}")


def run_verify(config: RunConfig, reporter: Reporter, rows: int = 64, seed: int = 0) -> bool:
    """Score a sample of the finished table's rows again; return whether all columns are within their bounds."""
    table, verification = verify_run(config, reporter, rows, seed)
    reporter.console.print(verification_table(verification))
    for column in verification.left_out:
        reporter.say(f"{column} was predicted from landmarks: not verified")
    reporter.say(f"verification: {storage.join(table.uri, RESULT)}")
    return verification.passed


def _show_log_scores(table: ScoreTable, reporter: Reporter) -> None:
    """Print how many contents have scores, and their distribution."""
    counts = table.counts
    lost = f", {counts['quarantined']:,} could not be scored" if counts["quarantined"] else ""
    reporter.say(f"  {counts['scored']:,} contents x {len(table.columns)} scores{lost}")
    if counts["scored"]:
        reporter.console.print(scores_table(table.statistics()))
    reporter.say(f"score table: {table.uri}")
