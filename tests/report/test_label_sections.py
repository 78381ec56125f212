"""The report's section on labels: what it says of each origin, and that values from a log are harmless."""

from __future__ import annotations

from typing import Any

import pytest

from raysample.data.score_table import ScoreTable
from raysample.evaluation.comparison import Comparison
from raysample.report import render_report
from raysample.report.label_sections import label_sections
from tests.helpers.report_data import PROVENANCE

pytestmark = pytest.mark.slow

EVIL = "<script>alert(1)</script>"
FEEDBACK = [
    {"value": EVIL, "gives": "the hypothesis", "rows": 600, "usable": 590},
    {"value": "rephrased", "gives": "the label in meant", "rows": 100, "usable": 100},
    {"value": "any other value", "gives": "no label", "rows": 0, "usable": 0},
    {"value": "none", "gives": "no label", "rows": 300, "usable": 0},
]
CONFIDENCE = {"rows": 590, "mean": 0.91234, "deciles": [0.3, *[0.9 + i / 100 for i in range(9)], 1.0]}
TOLD: dict[str, Any] = {
    "train": {"origin": "feedback", "min_confidence": 0.3, "confidence": CONFIDENCE, "feedback": FEEDBACK},
    "test": {"origin": "hypothesis", "min_confidence": None, "confidence": {"rows": 0, "mean": None, "deciles": []}},
}


def test_what_is_said_of_each_corpus(slim: ScoreTable) -> None:
    train, test = label_sections(TOLD, slim)
    assert train.sentences[1] == "Rows whose hypothesis has a confidence below 0.3 were left out."
    assert train.sentences[2] == "Of the scores, el2n is relative to them."
    assert train.confidence is not None
    heads, values = train.confidence
    assert dict(zip(heads, values, strict=True)) | {"rows": "590", "mean": "0.912", "least": "0.300"} == dict(
        zip(heads, values, strict=True)
    )
    assert (heads[-1], values[-1], heads[7], values[7]) == ("most", "1.000", "50 %", "0.940")
    assert train.feedback[0][2:] == ("600 (60 %)", "590")
    assert (test.sentences, test.confidence, test.feedback) == (
        ("Test labels are the production model's hypotheses.",),
        None,
        (),
    )


def test_the_page_has_the_section_only_where_something_is_told(comparison: Comparison, slim: ScoreTable) -> None:
    common: dict[str, Any] = {"title": "t", "comparison": comparison, "table": slim, "texts": None}
    without = render_report(provenance=PROVENANCE, **common)
    page = render_report(provenance={**PROVENANCE, "labels": TOLD}, **common)
    assert "<h2>Labels</h2>" not in without
    section = page.partition("<h2>Labels</h2>")[2].partition("</section>")[0]
    assert section.count("<table>") == 2
    assert "<script" not in page
    assert "&lt;script&gt;alert" in section
    assert "<h3>labels</h3>" not in page


def test_gold_labels_are_one_sentence_each(slim: ScoreTable) -> None:
    train, test = label_sections({"train": {"origin": "gold"}, "test": {"origin": "gold"}}, slim)
    assert train.sentences == ("Training labels are annotated by people.",)
    assert (train.confidence, train.feedback, test.feedback) == (None, (), ())
