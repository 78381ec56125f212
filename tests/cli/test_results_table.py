"""The table of results on the terminal."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from raysample.cli.tables import results_table
from raysample.evaluation.comparison import Comparison
from raysample.report.tables import results
from tests.helpers.report_data import ARMS, fake_comparison, fake_labels


def printed(comparison: Comparison) -> str:
    """Return the table as text of a wide terminal."""
    console = Console(width=200)
    with console.capture() as capture:
        console.print(results_table(comparison))
    return capture.get()


def test_arms_that_read_scores_have_what_choosing_cost() -> None:
    plain = fake_comparison(fake_labels(4), ARMS)
    told = replace(plain, choice_seconds={"easy(el2n)": 12.34, "ccs(el2n)": 250.0})
    lines = (line.split("│") for line in printed(told).splitlines() if "│" in line)
    rows = {cells[1].strip(): cells[3].strip() for cells in lines if cells[1].strip()}  # a long verdict goes on below
    costs = {"easy(el2n)": "12.3 s", "ccs(el2n)": "4 min 10 s"}
    assert rows == {arm: costs.get(arm, "–") for arm in ("full", "random", *ARMS)}
    assert {row.arm: row.choice for row in results(told)} == rows
    assert "choice: time of scoring" in " ".join(printed(told).split())


def test_a_table_without_a_known_cost_has_no_column_for_it() -> None:
    assert "choice" not in printed(fake_comparison(fake_labels(4), ARMS))
