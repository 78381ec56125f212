"""The terminal output at the end of a comparison: warnings, the results table, and the verdict."""

from __future__ import annotations

from raysample.cli.tables import levels_table, results_table
from raysample.core.progress import Reporter
from raysample.evaluation.comparison import Comparison


def conclude(reporter: Reporter, comparison: Comparison) -> None:
    """Print warnings, doubts first, then the results and the findings."""
    for warning in comparison.warnings:
        reporter.say(f"warning: {warning}")
    new, on_all = comparison.new_texts, results_table(comparison)
    results = [on_all] if new is None else [results_table(comparison.headline(), new.scope), on_all]
    for table in (*results, levels_table(comparison)):
        if table is not None:
            reporter.console.print(table)
    for sentence in comparison.findings():
        reporter.say(sentence)
