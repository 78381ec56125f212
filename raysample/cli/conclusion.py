"""The terminal output at the end of a comparison: warnings, the results table, and the verdict."""

from __future__ import annotations

from rich.table import Table

from raysample.cli.tables import levels_table, results_table
from raysample.core.progress import Reporter
from raysample.evaluation.comparison import Comparison


def conclude(reporter: Reporter, comparison: Comparison) -> None:
    """Print warnings, doubts first, then the results, those at equal steps after the others, and the findings."""
    for warning in comparison.warnings:
        reporter.say(f"warning: {warning}")
    for table in (*_results_tables(comparison), levels_table(comparison)):
        if table is not None:
            reporter.console.print(table)
    for sentence in comparison.findings():
        reporter.say(sentence)


def _results_tables(comparison: Comparison) -> list[Table]:
    """Return the tables of results: on new texts if they are the headline, on all rows, and both at equal steps."""
    new, on_all = comparison.new_texts, results_table(comparison)
    results = [on_all] if new is None else [results_table(comparison.headline(), new.scope), on_all]
    return results + ([] if comparison.equal_steps is None else _results_tables(comparison.equal_steps))
