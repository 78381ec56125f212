"""The report's section on the test of the scored model, and the arms' accuracy on what is rare."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from raysample.data.score_table import ScoreTable
from raysample.evaluation import evaluate
from raysample.evaluation.arm_summary import summarise
from raysample.evaluation.comparison import Comparison
from raysample.models import Truncation
from raysample.report import render_report
from raysample.report.evaluation_section import section_of_test, tail_figures
from tests.helpers.report_data import PROVENANCE, fake_comparison

pytestmark = pytest.mark.slow

LABELS = ("weather", "music", "<b>alarm</b>")


def told(**changes: Any) -> dict[str, Any]:
    """Return what a run tells: 40 test rows, class 2 rare, groups, some contents seen again; two corpora's lengths."""
    rng = np.random.default_rng(0)
    labels = np.array([0] * 20 + [1] * 16 + [2] * 4)
    logits = rng.normal(size=(40, 3)) + 2 * np.eye(3)[labels]
    groups = ["kitchen", "<i>hall</i>"] * 20
    found = evaluate(logits, labels, groups, rng.integers(1, 3, 40), (500, 450, 50), replicates=50)
    cut = Truncation(
        16, 900, 90, 9_000, 450, dict.fromkeys(("0.5", "0.9", "0.95", "0.99", "1.0"), 17), (0.1, 0, 0.4), 90, 90
    )
    tokens = {"train": cut.to_dict(), "test": replace(cut, measured=30, cut=0).to_dict()}
    return {"evaluation": {**found.to_dict(), "seed": 3, "rows": 900}, "tokens": tokens, **changes}


def test_metrics_are_shown_with_their_intervals() -> None:
    section = section_of_test(told(), LABELS)
    assert section is not None
    assert "seed 3) on 40 test rows." in section.sentences[0]
    assert any("Rare classes: the 1 smallest" in said and "(4 test rows)" in said for said in section.sentences)
    metrics, classes, groups, lengths, cut = section.tables
    values = {row[0]: row[1:] for row in metrics.rows}
    assert " to " in values["accuracy, %"][1]
    assert values["worst class recall, %"][1] == "–"
    assert set(values) >= {"accuracy on rare classes, %", "accuracy on texts seen once, %", "log-loss, nats"}
    assert {row[0] for row in classes.rows} == {"weather", "music", "<b>alarm</b> (rare)"}
    assert classes.caption == "Recall by class, %"
    assert {row[0]: row[1] for row in groups.rows} == {"kitchen": "20", "<i>hall</i>": "20"}
    assert lengths.rows[0] == ("train", "90", "10 %", "5 %", "17", "17", "17", "17", "17")
    assert lengths.rows[1][1] == "≈ 0"
    assert "estimated" in lengths.caption
    assert cut.rows == (("<b>alarm</b>", "40 %"), ("weather", "10 %"))


def test_without_an_evaluation_there_is_no_section() -> None:
    assert section_of_test({}, LABELS) is None


def test_the_page_has_the_section_and_nothing_of_it_runs(comparison: Comparison, slim: ScoreTable) -> None:
    common: dict[str, Any] = {"title": "A run", "comparison": comparison, "table": slim, "texts": None}
    without = render_report(provenance=PROVENANCE, **common)
    assert "Test of the scored model" not in without
    page = render_report(provenance={**PROVENANCE, **told(model={"layers": 2, "parameters": 12_345})}, **common)
    section = page.partition("<h2>Test of the scored model</h2>")[2].partition("</section>")[0]
    assert section.count("<table>") == 5
    assert "<i>" not in section
    assert "<td>12,345</td>" in page.partition("<h2>How it was made</h2>")[2]


def test_arms_are_compared_on_what_is_rare_where_their_runs_measured_it(labels: tuple[str, ...]) -> None:
    plain = fake_comparison(labels, {"hard(vog)": 0.01})
    assert tail_figures(plain) is None
    runs = tuple(
        replace(run, metrics={**run.metrics, "rare_class_accuracy": run.metrics["accuracy"] - 0.3})
        for run in plain.runs
    )
    rare = [replace(one, objective="rare_class") for one in plain.judgements if one.objective == "accuracy"]
    judgements = (*plain.judgements, *rare)
    found = tail_figures(replace(plain, runs=runs, summaries=summarise(runs, judgements)))
    assert found is not None
    assert found.heads == ("arm", "kept", "rare classes", "gap to random")
    by_arm = {row[0]: row[2:] for row in found.rows}
    assert by_arm["random"][1] == by_arm["full"][1] == "–"
    # The gap is that of the accuracy, since the tail lies 0.3 below it in every run.
    hard = next(s for s in plain.summaries if s.arm == "hard(vog)")
    assert hard.gap_to_random is not None
    shown = f"{100 * hard.gap_to_random.mean:+.2f} ({100 * hard.gap_to_random.low:+.2f} to ".replace("-", "−")
    assert by_arm["hard(vog)"][1].startswith(shown)
    # One run without the metric, as an earlier version left it: the arm has no figure, the others keep theirs.
    mixed = (replace(runs[0], metrics=plain.runs[0].metrics), *runs[1:])
    kept = summarise(mixed)
    assert kept[0].tails == {}
    assert not math.isnan(kept[1].tails["rare_class_accuracy"].mean[0])
