"""Commands on a run: from a configuration to a line that says where the result is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from raysample import report
from raysample.cli.conclusion import conclude
from raysample.cli.tables import outlook_table, recommendation_table, retention_table, scores_table, verification_table
from raysample.core import storage
from raysample.core.config import RunConfig
from raysample.core.errors import ConfigError
from raysample.core.extras import is_installed, require
from raysample.core.progress import Reporter
from raysample.data.corpus import Corpus
from raysample.data.log import Contents
from raysample.data.log.compaction import MANIFEST as CONTENTS
from raysample.evaluation.comparison import FULL, Comparison
from raysample.evaluation.keep_curve import recommend
from raysample.execution.base import Executor
from raysample.execution.create import create_executor
from raysample.influence.shards import part_name
from raysample.influence.verification import RESULT, verify_table
from raysample.selection import Selection, apply, explain_row
from raysample.selection.lengths import length_warnings
from raysample.selection.pruned_contents import apply_to_contents
from raysample.selection.pruned_corpus import Form
from raysample.tracking import NullTracker, Tracker
from raysample.workflow import Pipeline, Workspace, preflight
from raysample.workflow.budgets import select_at_budget
from raysample.workflow.checks import check_plans
from raysample.workflow.compare import Retraining
from raysample.workflow.opening import hold_run_folder, open_run, silence_libraries
from raysample.workflow.plan import outlook
from raysample.workflow.score import job_of


def run_all(config: RunConfig, reporter: Reporter) -> None:
    """Fine-tune, score, sample, compare and report under one parent run."""
    with open_run(config, reporter, "fine-tune", "score", "compare") as pipeline:
        top = pipeline.tracker
        with top.run(config.name, pipeline.params("run")) as parent:
            pipeline.tracker = parent
            pipeline.checkpoints()
            pipeline.scores()
            comparison = pipeline.compare()
            _publish(pipeline, comparison)
        _conclude(reporter, comparison, pipeline.workspace, top)


def run_plan(config: RunConfig, reporter: Reporter, rows: int = 256, price: float | None = None) -> None:
    """Fine-tune and score a few rows in a folder that does not stay, and tell what the whole run would take."""
    with (
        hold_run_folder(config, reporter) as (space, _),
        create_executor(config.engine) as engine,
        tempfile.TemporaryDirectory(prefix="raysample-plan-") as folder,
    ):
        preflight.check_preflight(config, space, engine, ("fine-tune",))
        pipeline = Pipeline(config, engine, NullTracker(), reporter)
        train, test = pipeline.corpora()
        adopted = None if config.adopt is None else pipeline.adopted(train)
        found = outlook(config, train, test, engine.slots(), folder, rows, adopted)
    reporter.console.print(outlook_table(found, price))


def run_fine_tune(config: RunConfig, reporter: Reporter) -> None:
    """Fine-tune on all rows."""
    with open_run(config, reporter, "fine-tune") as pipeline:
        for trace in pipeline.checkpoints():
            reporter.say(f"checkpoints: {trace.uri}")


def run_score_corpus(config: RunConfig, reporter: Reporter) -> None:
    """Score every training row."""
    with open_run(config, reporter, "score") as pipeline:
        table = pipeline.scores()
        if table.counts["scored"]:
            reporter.console.print(scores_table(table.statistics()))
        for warning in length_warnings(table, table.columns):
            reporter.say(f"warning: {warning}")
        reporter.say(f"score table: {table.uri}")


def run_retry_corpus(config: RunConfig, reporter: Reporter) -> None:
    """Score the shards again that set rows aside."""
    with open_run(config, reporter, "score") as pipeline:
        reporter.say(f"score table: {pipeline.retry().uri}")


def run_verify(config: RunConfig, reporter: Reporter, rows: int = 64, seed: int = 0) -> bool:
    """Score a sample of the finished table's rows again by the slow twin; tells whether all columns are in bounds."""
    with hold_run_folder(config, reporter):
        pipeline = Pipeline(config, create_executor(None), NullTracker(), reporter)
        table = pipeline.table()
        parts, train = table.parts[0].rpartition("/")[0], Corpus.load(pipeline.workspace.train)
        scored = pipeline.score_config(train)
        job = job_of(pipeline.traces(), train, scored, config.model, table.uri, parts)
        found = verify_table(table, job, rows=rows, seed=seed, reporter=reporter)
    reporter.console.print(verification_table(found))
    for column in found.left_out:
        reporter.say(f"{column} was predicted from landmarks: not verified")
    reporter.say(f"verification: {storage.join(table.uri, RESULT)}")
    return found.passed


def run_sample_corpus(config: RunConfig, reporter: Reporter, dry_run: bool = False) -> None:
    """Write all selections, or those at `sample.budget`; `dry_run`: only tell what they would leave."""
    if dry_run:
        _preview(config, reporter)
        return
    with open_run(config, reporter) as pipeline:
        if config.sample.budget is None:
            pipeline.sample()
            reporter.say(f"selections: {pipeline.workspace.at('selections')}")
            return
        retraining = pipeline.retraining()
        for title, selection in _at_budget(config, retraining, pipeline.engine, pipeline.workspace):
            _show_selection(reporter, title, selection, retraining)
            reporter.say(f"selection: {selection.uri}")


def _preview(config: RunConfig, reporter: Reporter) -> None:
    """Make the selections in a folder that does not stay, and tell what they leave of classes, groups and lengths."""
    silence_libraries()
    space = Workspace.of(config)
    space.check(config)
    check_plans(config)
    pipeline = Pipeline(config, create_executor(None), NullTracker(), reporter)
    with tempfile.TemporaryDirectory(prefix="raysample-dry-run-") as folder:
        retraining = replace(pipeline.retraining(), workspace=Workspace(folder))
        found = _at_budget if config.sample.budget is not None else _at_fractions
        for title, selection in found(config, retraining, pipeline.engine, space):
            _show_selection(reporter, title, selection, retraining)
    reporter.say("dry run: nothing was written")


def _show_selection(reporter: Reporter, title: str, selection: Selection, retraining: Retraining) -> None:
    reporter.console.print(retention_table(title, selection, retraining.table))
    for warning in selection.warnings:
        reporter.say(f"warning: {selection.name}: {warning}")


def _at_fractions(
    config: RunConfig, retraining: Retraining, engine: Executor, space: Workspace
) -> Iterator[tuple[str, Selection]]:
    """Make all selections of the comparison; yield those of the first seed, with a title."""
    del space
    retraining.select(engine)
    for (arm, fraction, seed), selection in retraining.selections.items():
        if seed == config.compare.seeds[0]:
            yield f"{arm} at {fraction:.0%}", selection


def _at_budget(
    config: RunConfig, retraining: Retraining, engine: Executor, space: Workspace
) -> Iterator[tuple[str, Selection]]:
    """Make a selection of every arm at `sample.budget`; yield them with a title. `space`: where comparisons lie."""
    for asked, selection in select_at_budget(config.sample, retraining, engine, space):
        kept, rows = selection.counts["kept"], selection.counts["in"] - selection.counts["quarantined"]
        title = f"{selection.name}: {kept:,} of {rows:,} rows ({kept / rows:.1%})"
        yield f"{title}, {asked.why}" if asked.why else title, selection


def run_explain(row_id: str, selection: str, reporter: Reporter) -> None:
    """Tell what became of a row."""
    for line in explain_row(Selection.load(selection), row_id).splitlines():
        reporter.say(line)


def run_apply(selection: str, corpus: str, output: str, source: str | None, format: Form, reporter: Reporter) -> None:
    """Write the pruned corpus, of a corpus or of a log's contents."""
    if storage.exists(storage.join(corpus, CONTENTS)):
        if source is not None or format != "parquet":
            raise ConfigError("contents are applied where they lie, to Parquet", "leave --source and --format out")
        made = apply_to_contents(Selection.load(selection), Contents.load(corpus), output)
        reporter.say(f"pruned contents: {made.uri} ({made.rows:,} contents in {len(made.files):,} files)")
        return
    described = Corpus.load(corpus)
    made = apply(Selection.load(selection), described.at(source) if source else described, output, format)
    reporter.say(f"pruned corpus: {made.uri} ({made.rows:,} rows in {len(made.files):,} files)")


def run_compare(config: RunConfig, reporter: Reporter) -> None:
    """Retrain every arm and compare."""
    with open_run(config, reporter, "compare") as pipeline:
        top = pipeline.tracker
        with top.run(config.name, pipeline.params("compare")) as parent:
            pipeline.tracker = parent
            comparison = pipeline.compare()
            _publish(pipeline, comparison)
        _conclude(reporter, comparison, pipeline.workspace, top)


def run_report(config: RunConfig, reporter: Reporter) -> None:
    """Write the report of a finished comparison again."""
    require("report", "the report")
    space = Workspace.of(config)
    comparison = Comparison.load(space.comparison)
    pipeline = Pipeline(config, create_executor(None), NullTracker(), reporter)
    _write_report(pipeline, comparison)
    reporter.say(f"report: {space.report}")


def run_recommend(config: RunConfig, reporter: Reporter, tolerance: float | None = None) -> None:
    """Recommend how much each arm may drop, from the finished comparison; `tolerance`: `sample.tolerance` if None."""
    tolerance = config.sample.tolerance if tolerance is None else tolerance
    comparison = Comparison.load(Workspace.of(config).comparison)
    found = recommend(comparison.runs, tolerance)
    reporter.console.print(recommendation_table(found, tolerance, sum(comparison.class_counts)))


def _publish(pipeline: Pipeline, comparison: Comparison) -> None:
    """Write the report and store it, with the figures that it is made of, in the parent run."""
    space, tracker = pipeline.workspace, pipeline.tracker
    paths = [space.comparison, space.at("config.yaml")]
    if is_installed("report"):
        _write_report(pipeline, comparison)
        paths.insert(0, space.report)
    space.record(pipeline.config)
    for path in paths:
        tracker.artifact(path)
    full = next(summary for summary in comparison.summaries if summary.arm == FULL)
    tracker.metrics({"test_acc": full.accuracy[0], "test_macro_f1": full.macro_f1[0]})


def _write_report(pipeline: Pipeline, comparison: Comparison) -> None:
    config, table = pipeline.config, pipeline.table()
    looked = report.collect_table_sample(table, config.report.examples, pipeline.engine.map)
    texts = None
    if config.report.show_text and looked is not None:
        texts = _texts(Corpus.load(pipeline.workspace.train), looked)
    report.write_report(
        pipeline.workspace.report,
        title=config.name,
        comparison=comparison,
        table=table,
        texts=texts,
        provenance=pipeline.provenance(),
        examples=config.report.examples,
        looked=looked,
    )


def _texts(corpus: Corpus, looked: report.TableSample) -> dict[str, str]:
    """Look the texts of the example rows up, in their shards alone."""
    shards = {part_name(shard): shard.index for shard in corpus.shards}
    found: dict[str, str] = {}
    for part, wanted in looked.places().items():
        rows = corpus.read(shards[part.rpartition("/")[2]])
        rows = rows.filter(pc.is_in(rows["row_id"], value_set=pa.array(wanted, pa.string())))
        for row in rows.to_pylist():
            found[row["row_id"]] = " || ".join(text for text in (row["text"], row["text_pair"]) if text)
    return found


def _conclude(reporter: Reporter, comparison: Comparison, space: Workspace, tracker: Tracker) -> None:
    reporter.say()
    conclude(reporter, comparison)
    if is_installed("report"):
        reporter.say(f"report: {space.report}")
    reporter.say(f"MLflow: {tracker.where}")
