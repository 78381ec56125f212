"""What each command of the command line does, from a configuration to a line that says where the result is."""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from raysample import report, storage
from raysample.config import RunConfig
from raysample.corpus import Corpus
from raysample.errors import ConfigError
from raysample.experiment import FULL, ArmSummary, Comparison, Gap, class_shift
from raysample.keep_curve import Recommendation, recommend
from raysample.pipeline import Pipeline, Workspace
from raysample.pipeline.checks import check_plans
from raysample.pipeline.scoring import job_of
from raysample.progress import Reporter
from raysample.selection import Selection, apply, explain
from raysample.selection.applying import Form
from raysample.selection.retention import retention, smallest
from raysample.table import ScoreTable
from raysample.tracking import NullTracker, Tracker
from raysample.verbs import engine_of
from raysample.verification import RESULT, Verification, verify_table


def run_all(config: RunConfig, reporter: Reporter) -> None:
    """Fine-tune, score, sample, compare and report under one parent run."""
    with _pipeline(config, reporter) as pipeline:
        top = pipeline.tracker
        with top.run(config.name, pipeline.params("run")) as parent:
            pipeline.tracker = parent
            pipeline.checkpoints()
            pipeline.scores()
            comparison = pipeline.compare()
            _publish(pipeline, comparison)
        _conclude(reporter, comparison, pipeline.workspace, top)


def run_fine_tune(config: RunConfig, reporter: Reporter) -> None:
    """Fine-tune on all rows."""
    with _pipeline(config, reporter) as pipeline:
        for trace in pipeline.checkpoints():
            reporter.say(f"checkpoints: {trace.uri}")


def run_score(config: RunConfig, reporter: Reporter) -> None:
    """Score every training row."""
    with _pipeline(config, reporter) as pipeline:
        reporter.say(f"score table: {pipeline.scores().uri}")


def run_verify(config: RunConfig, reporter: Reporter, rows: int = 64, seed: int = 0) -> bool:
    """Score a sample of the finished table's rows again by the slow twin; tells whether all columns are in bounds."""
    _quiet()
    Workspace.of(config).check(config)
    pipeline = Pipeline(config, engine_of(None), NullTracker(), reporter)
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


def run_sample(config: RunConfig, reporter: Reporter, dry_run: bool = False) -> None:
    """Write all selections; `dry_run`: only tell what they would leave."""
    if dry_run:
        _preview(config, reporter)
        return
    with _pipeline(config, reporter) as pipeline:
        pipeline.sample()
        reporter.say(f"selections: {pipeline.workspace.at('selections')}")


def _preview(config: RunConfig, reporter: Reporter) -> None:
    """Make the selections in a folder that does not stay, and tell what they leave of classes and lengths."""
    _quiet()
    Workspace.of(config).check(config)
    check_plans(config)
    pipeline = Pipeline(config, engine_of(None), NullTracker(), reporter)
    with tempfile.TemporaryDirectory(prefix="raysample-dry-run-") as folder:
        retraining = replace(pipeline.retraining(), workspace=Workspace(folder))
        retraining.select(pipeline.engine)
        first = config.compare.seeds[0]
        for (arm, fraction, seed), selection in retraining.selections.items():
            if seed == first:
                reporter.console.print(retention_table(f"{arm} at {fraction:.0%}", selection, retraining.table))
    reporter.say("dry run: nothing was written")


def explain_row(row_id: str, selection: str, reporter: Reporter) -> None:
    """Tell what became of a row."""
    for line in explain(Selection.load(selection), row_id).splitlines():
        reporter.say(line)


def apply_selection(
    selection: str, corpus: str, output: str, source: str | None, format: Form, reporter: Reporter
) -> None:
    """Write the pruned corpus."""
    described = Corpus.load(corpus)
    made = apply(Selection.load(selection), described.at(source) if source else described, output, format)
    reporter.say(f"pruned corpus: {made.uri} ({made.rows:,} rows in {len(made.files):,} files)")


def retention_table(title: str, selection: Selection, table: ScoreTable) -> Table:
    """Return what a selection leaves of the smallest classes, of the groups it cuts most, and of each length."""
    shown = Table(title=title, title_justify="left", box=SIMPLE)
    for heading in ("part", "rows", "kept", "share"):
        shown.add_column(heading, justify="left" if heading == "part" else "right", no_wrap=True)
    left = retention(selection, table)
    for section in (
        [(f"class {escape(name)}", rows, kept) for name, rows, kept in smallest(selection)],
        [(f"group {escape(name)}", rows, kept) for name, rows, kept in left.groups],
        [(f"{band.least} to {band.most} tokens", band.rows, band.kept) for band in left.bands],
    ):
        for part, rows, kept in section:
            shown.add_row(part, f"{rows:,}", f"{kept:,}", f"{kept / rows:.1%}")
        if section:
            shown.add_section()
    shift = class_shift(selection.class_counts, selection.kept_class_counts)
    groups = "the groups of which least is left, " if left.groups else ""
    shown.caption = f"the classes with the fewest rows left, {groups}and all lengths; class shift {shift:.2f}"
    return shown


def run_compare(config: RunConfig, reporter: Reporter) -> None:
    """Retrain every arm and compare."""
    with _pipeline(config, reporter) as pipeline:
        top = pipeline.tracker
        with top.run(config.name, pipeline.params("compare")) as parent:
            pipeline.tracker = parent
            comparison = pipeline.compare()
            _publish(pipeline, comparison)
        _conclude(reporter, comparison, pipeline.workspace, top)


def run_report(config: RunConfig, reporter: Reporter) -> None:
    """Write the report of a finished comparison again."""
    space = Workspace.of(config)
    comparison = Comparison.of(storage.read_json(space.comparison))
    pipeline = Pipeline(config, engine_of(None), NullTracker(), reporter)
    _write_report(pipeline, comparison)
    reporter.say(f"report: {space.report}")


def run_recommend(config: RunConfig, reporter: Reporter, tolerance: float = 0.01) -> None:
    """Recommend how much each arm may drop, from the finished comparison."""
    comparison = Comparison.of(storage.read_json(Workspace.of(config).comparison))
    found = recommend(comparison.runs, tolerance)
    reporter.console.print(recommendation_table(found, tolerance, sum(comparison.class_counts)))


def recommendation_table(found: Sequence[Recommendation], tolerance: float, rows: int) -> Table:
    """Return the smallest share of each arm."""
    shown = Table(
        title=f"smallest share that costs at most {tolerance:.1%} of accuracy", title_justify="left", box=SIMPLE
    )
    shown.add_column("arm", no_wrap=True)
    for heading in ("keep", "rows", "90 % of resamples", "expected loss", "plateau"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for one in sorted(found, key=lambda one: one.fraction):
        sure = "one seed" if math.isnan(one.low) else f"{one.low:.0%} to {one.high:.0%}"
        told = (
            f"{one.fraction:.0%}",
            f"{round(one.fraction * rows):,}",
            sure,
            f"{one.loss:.2%}",
            f"{one.curve.plateau:.1%}",
        )
        shown.add_row(escape(one.arm), *told)
    measured = ", ".join(f"{share:.0%}" for share, _ in found[0].measured)
    shown.caption = f"accuracy = a - b exp(-c share), fitted to {measured}; nothing below the smallest is recommended"
    return shown


@contextmanager
def _pipeline(config: RunConfig, reporter: Reporter) -> Iterator[Pipeline]:
    """Check what can be checked before anything expensive starts: folder, tracking, cluster."""
    _quiet()
    space = Workspace.of(config)
    space.check(config)
    check_plans(config)
    tracker = _tracker(config, space)
    with engine_of(config.engine) as engine:
        yield Pipeline(config, engine, tracker, reporter)


def _tracker(config: RunConfig, space: Workspace) -> Tracker:
    if not config.tracking.enabled:
        return NullTracker()
    from raysample.tracking import mlflow

    if config.tracking.uri is None and not storage.is_local(space.root):
        raise ConfigError(
            f"the output {space.root!r} is not a local folder, where an embedded MLflow could be kept",
            "give tracking.uri (a server or a database), or set tracking.enabled=false",
        )
    local = Path(space.root).parent
    uri = config.tracking.uri or f"sqlite:///{local / 'mlflow.db'}"
    artifacts = None if config.tracking.uri else str(local / "mlartifacts")
    return mlflow.open(uri, config.tracking.experiment or config.name, artifacts, str(local / "mlflow-pending.jsonl"))


def _publish(pipeline: Pipeline, comparison: Comparison) -> None:
    """Write the report and store it, with the figures that it is made of, in the parent run."""
    space, tracker = pipeline.workspace, pipeline.tracker
    _write_report(pipeline, comparison)
    space.record(pipeline.config)
    for path in (space.report, space.comparison, space.at("config.yaml")):
        tracker.artifact(path)
    full = next(summary for summary in comparison.summaries if summary.arm == FULL)
    tracker.metrics({"test_acc": full.accuracy[0], "test_macro_f1": full.macro_f1[0]})


def _write_report(pipeline: Pipeline, comparison: Comparison) -> None:
    config, table = pipeline.config, pipeline.table()
    texts = None
    if config.report.show_text:
        texts = _texts(Corpus.load(pipeline.workspace.train), table, config.report.examples)
    report.write(
        pipeline.workspace.report,
        title=config.name,
        comparison=comparison,
        table=table,
        texts=texts,
        provenance=pipeline.provenance(),
        examples=config.report.examples,
    )


def _texts(corpus: Corpus, table: ScoreTable, examples: int) -> dict[str, str]:
    wanted = report.example_rows(table, examples)
    found: dict[str, str] = {}
    for shard in corpus.shards:
        rows = corpus.read(shard.index)
        rows = rows.filter(pc.is_in(rows["row_id"], value_set=_strings(wanted)))
        for row in rows.to_pylist():
            found[row["row_id"]] = " || ".join(text for text in (row["text"], row["text_pair"]) if text)
    return found


def _strings(values: list[str]) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.string())


def _conclude(reporter: Reporter, comparison: Comparison, space: Workspace, tracker: Tracker) -> None:
    reporter.say()
    reporter.console.print(results_table(comparison))
    for warning in comparison.warnings:
        reporter.say(f"warning: {warning}")
    reporter.say(f"report: {space.report}")
    reporter.say(f"MLflow: {tracker.where}")


def results_table(comparison: Comparison) -> Table:
    """Return the comparison as a table for the terminal."""
    table = Table(
        title=f"test results, mean ± sd over seeds ({comparison.regime.replace('_', ' ')})", title_justify="left"
    )
    table.add_column("arm", overflow="fold")
    for name in ("kept", "accuracy %", "macro-F1 %", "vs full", "vs random", "verdict"):
        table.add_column(name, justify="left" if name == "verdict" else "right")
    for row in comparison.summaries:
        table.add_row(
            row.arm,
            f"{row.kept:,} ({row.fraction:.0%})",
            _spread(row.accuracy),
            _spread(row.macro_f1),
            _gap(row.gap_to_full),
            _gap(row.gap_to_random),
            _verdict(row),
        )
    return table


def verification_table(found: Verification) -> Table:
    """Return a verification as a table for the terminal."""
    title = f"{found.rows} rows, scored again one by one in float64 (stored: {found.precision})"
    table = Table(title=title, title_justify="left")
    table.add_column("score", overflow="fold")
    for name in ("largest difference", "relative", "rank correlation", "rows that differ"):
        table.add_column(name, justify="right")
    table.add_column("bound", overflow="fold")
    table.add_column("verdict")
    for check in found.checks:
        figures = (_figure(check.absolute, ".2g"), _figure(check.relative, ".2g"), _figure(check.correlation, ".5f"))
        verdict = "[green]ok[/]" if check.passed else "[red]out of bounds[/]"
        table.add_row(check.column, *figures, _figure(check.differing, ".1%"), check.bound, verdict)
    return table


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _spread(value: tuple[float, float]) -> str:
    mean, sd = value
    return f"{100 * mean:.2f}" if sd != sd else f"{100 * mean:.2f} ± {100 * sd:.2f}"


def _gap(gap: Gap | None) -> str:
    if gap is None:
        return "-"
    interval = "" if gap.low != gap.low else f" [{100 * gap.low:+.2f}, {100 * gap.high:+.2f}]"
    return f"{100 * gap.mean:+.2f}{interval}"


def _verdict(row: ArmSummary) -> str:
    colour = {"better than random": "green", "worse than random": "red"}.get(row.verdict)
    return f"[{colour}]{row.verdict}[/]" if colour else row.verdict


def _quiet() -> None:
    """Keep libraries' chatter off the terminal; their warnings stay in their logs."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("transformers", "datasets", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
