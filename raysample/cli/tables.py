"""Tables for the terminal: scores, comparisons, retention, recommendations, verification, contents."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from raysample.core.statistics import TOKENS, Statistics
from raysample.core.units import format_bytes
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.log import Contents
from raysample.data.score_table import ScoreTable
from raysample.evaluation import NAMES
from raysample.evaluation.arm_summary import ArmSummary, Gap
from raysample.evaluation.class_balance import class_shift
from raysample.evaluation.comparison import Comparison
from raysample.evaluation.keep_curve import Recommendation
from raysample.influence.verification import Verification
from raysample.report.formatting import DASH, duration
from raysample.report.summaries import figure
from raysample.selection import Selection
from raysample.selection.retention import Band, retention, smallest
from raysample.training.importing.adopt import EPOCHS_KEY, RATES_KEY
from raysample.workflow.plan import Outlook


def retention_table(title: str, selection: Selection, table: ScoreTable) -> Table:
    """Return the retention of the smallest classes, of the groups that lose most, and of each length band."""
    shown = Table(title=title, title_justify="left", box=SIMPLE)
    for heading in ("part", "rows", "kept", "share"):
        shown.add_column(heading, justify="left" if heading == "part" else "right", no_wrap=True)
    left = retention(selection, table)
    for section in (
        [(f"class {escape(name)}", rows, kept) for name, rows, kept in smallest(selection)],
        [(f"group {escape(name)}", rows, kept) for name, rows, kept in left.groups],
        [(_spanned(band), band.rows, band.kept) for band in left.bands],
    ):
        for part, rows, kept in section:
            shown.add_row(part, f"{rows:,}", f"{kept:,}", f"{kept / rows:.1%}")
        if section:
            shown.add_section()
    shift = class_shift(selection.class_counts, selection.kept_class_counts)
    groups = "the groups of which least is left, " if left.groups else ""
    shown.caption = f"the classes with the fewest rows left, {groups}and all lengths; class shift {shift:.2f}"
    return shown


def _spanned(band: Band) -> str:
    """Return a length band as text."""
    low, high = band.min_tokens, band.max_tokens
    return f"{low} to {high} tokens" if low < high else f"{low} tokens"


def adoption_table(checkpoint_set: CheckpointSet) -> Table:
    """Return the checkpoints of an adopted set with step, epoch and learning rate."""
    shown = Table(title="adopted, in training order", title_justify="left", box=SIMPLE)
    for heading in ("step", "epoch", "learning rate"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("folder", overflow="fold")
    notes, assumed = checkpoint_set.config.get(RATES_KEY, ()), checkpoint_set.config.get(EPOCHS_KEY) == "assumed"
    for checkpoint, note in zip(checkpoint_set.checkpoints, notes, strict=True):
        rate = "unknown" if math.isnan(checkpoint.learning_rate) else f"{checkpoint.learning_rate:.4g}"
        rate_note = f"{rate} ({note})" if note and rate != "unknown" else rate
        shown.add_row(f"{checkpoint.step:,}", f"{checkpoint.epoch:.4g}", rate_note, escape(checkpoint.uri))
    if assumed:
        shown.caption = "nobody told the epochs: one checkpoint an epoch is assumed"
    return shown


def recommendation_table(recommendations: Sequence[Recommendation], tolerance: float, rows: int) -> Table:
    """Return the recommended smallest share of each arm."""
    shown = Table(
        title=f"smallest share that costs at most {tolerance:.1%} of accuracy on validation",
        title_justify="left",
        box=SIMPLE,
    )
    shown.add_column("arm", no_wrap=True)
    for heading in ("keep", "rows", "90 % of resamples", "expected loss", "plateau"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for one in sorted(recommendations, key=lambda one: one.fraction):
        sure = "one seed" if math.isnan(one.low) else f"{one.low:.0%} to {one.high:.0%}"
        cells = (
            f"{one.fraction:.0%}",
            f"{round(one.fraction * rows):,}",
            sure,
            f"{one.loss:.2%}",
            f"{one.curve.plateau:.1%}",
        )
        shown.add_row(escape(one.arm), *cells)
    measured = ", ".join(f"{share:.0%}" for share, _ in recommendations[0].measured)
    shown.caption = f"accuracy = a - b exp(-c share), fitted to {measured}; nothing below the smallest is recommended"
    return shown


def outlook_table(outlook: Outlook, price: float | None = None) -> Table:
    """Return the estimates of `plan`, with the cost if the price of a worker-hour is known."""
    shown = Table(
        title=f"what the run takes, by a miniature of {outlook.sample:,} rows", title_justify="left", box=SIMPLE
    )
    for heading in ("step", "work", "one worker", "workers", "time"):
        shown.add_column(heading, justify="left" if heading in ("step", "work") else "right", no_wrap=True)
    for step in outlook.steps:
        shown.add_row(step.step, step.work, duration(step.seconds), f"{step.workers}", duration(step.elapsed))
    hours = sum(step.seconds for step in outlook.steps) / 3600
    shown.add_section()
    elapsed = sum(step.elapsed for step in outlook.steps)
    cost = "" if price is None else f", cost {price * hours:,.2f}"
    shown.add_row("all", f"{hours:,.2f} worker-hours{cost}", duration(hours * 3600), "", duration(elapsed))
    shown.caption = (
        f"a scoring worker holds {outlook.checkpoints} checkpoints of {format_bytes(outlook.checkpoint_bytes)}, "
        f"{format_bytes(outlook.actor_bytes)} in all at most; score table {format_bytes(outlook.table_bytes)}; "
        f"measured on this machine in {duration(outlook.measured)}, starting workers and reading texts not counted"
    )
    return shown


def contents_table(contents: Contents) -> Table:
    """Return the counts of compacted contents."""
    counts = contents.counts
    shown = Table(title="the log's contents", title_justify="left", box=SIMPLE, show_header=False)
    shown.add_column("what", no_wrap=True)
    shown.add_column("figure", justify="right", no_wrap=True)
    shown.add_column("note", overflow="fold")
    files = ", ".join(f"{number:,} {name}" for name, number in contents.update.items() if number)
    window = "all partitions" if contents.window is None else f"the newest {contents.window:,} partitions"
    shown.add_row("files", f"{len(contents.files):,}", f"{files}; {window}")
    for reason, entry in contents.inventory.get("left_out", {}).items():
        names = ", ".join(entry["names"][:3]) + (", ..." if entry["files"] > 3 else "")
        shown.add_row("files left out", f"{entry['files']:,}", escape(f"{reason}: {names}"))
    why = ", ".join(f"{cause} {rows:,}" for cause, rows in contents.left_out.items())
    out = f"{counts['filtered']:,} filtered out{f': {why}' if why else ''}" if counts["filtered"] else ""
    shown.add_row("rows", f"{counts['usable']:,}", out)
    bad = "; ".join(f"{escape(reason)}: {rows:,}" for reason, rows in contents.reasons.items())
    shown.add_row("rows set aside", f"{counts['quarantined']:,}", bad)
    repeats = f"{counts['usable'] / max(1, counts['contents']):.2f} rows each: a visit saves the others"
    shown.add_row("unique contents", f"{counts['contents']:,}", repeats)
    clash = f"texts with several labels, in {counts['conflict_rows'] / max(1, counts['usable']):.1%} of the rows"
    shown.add_row("label conflicts", f"{counts['conflicts']:,}", clash)
    top = ", ".join(f"{escape(name)} {rows:,}" for name, rows in list(contents.labels.items())[:5])
    shown.add_row("labels", f"{len(contents.labels):,}", f"{top}{' ...' if len(contents.labels) > 5 else ''}")
    for warning in contents.warnings:
        shown.add_row("warning", "", escape(warning))
    return shown


def scores_table(statistics: Statistics) -> Table:
    """Return the distribution of each score over all rows."""
    shown = Table(box=SIMPLE)
    shown.add_column("score", overflow="fold")
    for heading in ("mean", "sd", "5 %", "median", "95 %", "r with length"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for name in statistics.scores:
        distribution = statistics.overall(name)
        figures = (distribution.mean, distribution.deviation, *distribution.quantiles([0.05, 0.5, 0.95]))
        r = statistics.correlation(name, TOKENS)
        shown.add_row(escape(name), *(figure(value) for value in figures), DASH if math.isnan(r) else f"{r:.2f}")
    return shown


def results_table(comparison: Comparison, scope: str = "on all test rows") -> Table:
    """Return the comparison as a table for the terminal; `scope`: the test rows that it is about, as words."""
    regime = comparison.regime.replace("_", " ")
    table = Table(title=f"test results {scope}, mean ± sd over seeds ({regime})", title_justify="left")
    table.add_column("arm", overflow="fold")
    judged, costs = NAMES[comparison.objective], comparison.choice_seconds
    choice = ["choice"] if costs else []
    for name in ("kept", *choice, "accuracy %", "macro-F1 %", "vs full", "vs random", "vs stratified", "verdict"):
        table.add_column(name, justify="left" if name == "verdict" else "right")
    for row in comparison.summaries:
        table.add_row(
            row.arm,
            f"{row.kept:,} ({row.fraction:.0%})",
            *([duration(costs[row.arm]) if row.arm in costs else DASH] if costs else []),
            _mean_and_deviation(row.accuracy),
            _mean_and_deviation(row.macro_f1),
            _gap(row.gap_to_full),
            _gap(row.gap_to_random),
            _gap(row.gap_to_stratified),
            _verdict(row),
        )
    table.caption = f"differences and verdicts: points of {judged}, by compare.objective"
    if costs:
        table.caption += "; choice: time of scoring, by all scores together, or of the races of auto"
    return table


def levels_table(comparison: Comparison) -> Table | None:
    """Return the results at every level of a hierarchical label; None for flat labels."""
    results = comparison.level_results()
    if not results:
        return None
    table = Table(title="test results at every level, %; exact match: right at all of them", title_justify="left")
    table.add_column("arm", overflow="fold")
    table.add_column("kept", justify="right")
    for name, _ in results[0][1]:
        table.add_column(name.replace("_", " "), justify="right")
    for row, figures in results:
        table.add_row(row.arm, f"{row.fraction:.0%}", *(_mean_and_deviation(value) for _, value in figures))
    return table


def verification_table(verification: Verification) -> Table:
    """Return a verification as a table for the terminal."""
    title = f"{verification.rows} rows, scored again one by one in float64 (stored: {verification.precision})"
    table = Table(title=title, title_justify="left")
    table.add_column("score", overflow="fold")
    for name in ("largest difference", "relative", "rank correlation", "rows that differ"):
        table.add_column(name, justify="right")
    table.add_column("bound", overflow="fold")
    table.add_column("verdict")
    for check in verification.checks:
        figures = (_figure(check.absolute, ".2g"), _figure(check.relative, ".2g"), _figure(check.correlation, ".5f"))
        verdict = "[green]ok[/]" if check.passed else "[red]out of bounds[/]"
        table.add_row(check.column, *figures, _figure(check.differing, ".1%"), check.bound, verdict)
    return table


def _figure(value: float | None, form: str) -> str:
    """Return a number in a format, `-` for None."""
    return "-" if value is None else format(value, form)


def _mean_and_deviation(value: tuple[float, float]) -> str:
    """Return mean ± standard deviation in per cent."""
    mean, sd = value
    return f"{100 * mean:.2f}" if sd != sd else f"{100 * mean:.2f} ± {100 * sd:.2f}"


def _gap(gap: Gap | None) -> str:
    """Return a gap in points with its interval."""
    if gap is None:
        return "-"
    interval = "" if gap.low != gap.low else f" [{100 * gap.low:+.2f}, {100 * gap.high:+.2f}]"
    return f"{100 * gap.mean:+.2f}{interval}"


def _verdict(row: ArmSummary) -> str:
    """Return a verdict in colour."""
    first = row.verdict.removeprefix("weak evidence: ").split()[0]
    colour = {"better": "green", "worse": "red"}.get(first)
    return f"[{colour}]{row.verdict}[/]" if colour else row.verdict
