"""Commands on a whole run: from a configuration to a line with the location of the result."""

from __future__ import annotations

from raysample.cli.conclusion import conclude
from raysample.cli.tables import outlook_table, recommendation_table
from raysample.core.config import RunConfig
from raysample.core.extras import is_installed, require_extra
from raysample.core.progress import Reporter
from raysample.evaluation.comparison import Comparison
from raysample.evaluation.keep_curve import recommend
from raysample.execution.create import create_executor
from raysample.workflow import Pipeline, RunContext, RunFolder
from raysample.workflow.checks import check_validation
from raysample.workflow.dry_run import plan_run
from raysample.workflow.opening import open_run
from raysample.workflow.reporting import run_comparison, run_whole, write_run_report


def run_all(config: RunConfig, reporter: Reporter) -> None:
    """Fine-tune, score, sample, compare and report under one parent run."""
    with open_run(config, reporter, "fine-tune", "score", "compare") as pipeline:
        _conclude(pipeline, run_whole(pipeline))


def run_plan(config: RunConfig, reporter: Reporter, rows: int = 256, price: float | None = None) -> None:
    """Estimate time, memory and storage of the whole run from a few rows."""
    reporter.console.print(outlook_table(plan_run(config, reporter, rows), price))


def run_fine_tune(config: RunConfig, reporter: Reporter) -> None:
    """Fine-tune on all rows."""
    with open_run(config, reporter, "fine-tune") as pipeline:
        for checkpoint_set in pipeline.checkpoints():
            reporter.say(f"checkpoints: {checkpoint_set.uri}")


def run_compare(config: RunConfig, reporter: Reporter) -> None:
    """Retrain every arm and compare."""
    with open_run(config, reporter, "compare") as pipeline:
        _conclude(pipeline, run_comparison(pipeline))


def run_report(config: RunConfig, reporter: Reporter) -> None:
    """Write the report of a finished comparison again."""
    require_extra("report", "the report")
    run_folder = RunFolder.from_config(config)
    comparison = Comparison.load(run_folder.comparison)
    write_run_report(Pipeline(config, RunContext(create_executor(None), reporter)), comparison)
    reporter.say(f"report: {run_folder.report}")


def run_recommend(config: RunConfig, reporter: Reporter, tolerance: float | None = None) -> None:
    """Recommend how much each arm may drop, from the finished comparison; `tolerance`: `sample.tolerance` if None."""
    check_validation(config)
    tolerance = config.sample.tolerance if tolerance is None else tolerance
    comparison = Comparison.load(RunFolder.from_config(config).comparison)
    recommendations = recommend(comparison.runs, tolerance)
    reporter.console.print(recommendation_table(recommendations, tolerance, sum(comparison.class_counts)))


def _conclude(pipeline: Pipeline, comparison: Comparison) -> None:
    """Print the results, and the location of the report and the tracked run."""
    reporter = pipeline.context.reporter
    reporter.say()
    conclude(reporter, comparison)
    if is_installed("report"):
        reporter.say(f"report: {pipeline.run_folder.report}")
    reporter.say(f"MLflow: {pipeline.context.tracker.where}")
