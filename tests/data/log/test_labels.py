"""A log whose labels follow from what users did: what has none is left out before contents are counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysample.cli.tables import contents_table
from raysample.core import storage
from raysample.core.config import SourceConfig
from raysample.core.errors import CorpusError
from raysample.data.corpus import describe_source
from raysample.data.log import Contents, compact_log

RULE: dict[str, Any] = {
    "origin": "feedback",
    "confidence": "sure",
    "min_confidence": 0.5,
    "feedback": {"column": "outcome", "accept": ["completed"], "correct": {"rephrased": "meant"}},
}


@pytest.fixture
def source(tmp_path: Path) -> SourceConfig:
    """Two days of 60 rows of six texts; every fourth row has no feedback, every fourth is corrected."""
    for day in range(2):
        rows = [
            {
                "text": f"text {i % 6}",
                "hypothesis": "ab"[i % 2],
                "sure": None if i == 7 else (i % 10) / 10,
                "outcome": [None, "completed", "rephrased", "abandoned"][i // 6 % 4],
                "meant": "c",
            }
            for i in range(60)
        ]
        folder = tmp_path / "log" / f"date=2025-01-0{day + 1}"
        folder.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / "part.parquet")
    return SourceConfig.model_validate(
        {"path": str(tmp_path / "log"), "columns": {"label": "hypothesis"}, "labels": RULE, "max_quarantined": 0.2}
    )


def test_a_log_has_the_labels_that_a_corpus_of_the_same_rows_has(source: SourceConfig, tmp_path: Path) -> None:
    found, corpus = compact_log(source, str(tmp_path / "contents")), describe_source(source, str(tmp_path / "corpus"))
    assert {name: found.counts[name] for name in corpus.counts} == corpus.counts
    assert found.counts["in"] == 120
    assert found.left_out == corpus.filtered
    assert set(found.left_out) == {"no feedback", "feedback that gives no label", "confidence below min_confidence"}
    assert found.reasons == corpus.quarantine == {"confidence is missing": 2}
    rows = pa.concat_tables([storage.read_parquet(place) for place in found.places]).to_pylist()
    said = Counter((row["text"], corpus.labels[row["label"]]) for row in corpus.table().to_pylist())
    assert {(row["text"], row["label"]): row["count"] for row in rows} == said
    assert any(label == "c" for _, label in said)
    assert Contents.load(found.uri) == found


def test_contents_of_a_log_without_annotation_are_no_gold(source: SourceConfig, tmp_path: Path) -> None:
    found = compact_log(source, str(tmp_path / "contents"))
    assert found.as_source().labels.origin == "hypothesis"
    notes = [str(note) for note in contents_table(found).columns[2].cells]
    assert any("no feedback 36" in note for note in notes)


def test_another_rule_tallies_the_files_anew(source: SourceConfig, tmp_path: Path) -> None:
    first = compact_log(source, str(tmp_path / "contents"))
    gold = compact_log(source.model_copy(update={"labels": type(source.labels)()}), first.uri)
    assert gold.update == {"new": 2, "kept": 0, "gone": 2}
    assert gold.counts["usable"] == 120
    assert gold.left_out == {}
    assert gold.as_source().labels.origin == "gold"


def test_feedback_that_never_comes_says_what_was_left_out(source: SourceConfig, tmp_path: Path) -> None:
    rule = {"origin": "feedback", "feedback": {"column": "outcome", "accept": ["complete"]}}
    silent = SourceConfig.model_validate({**source.to_dict(), "labels": rule})
    with pytest.raises(
        CorpusError, match=r"no usable row in the window \(left out: feedback that gives no label: "
    ) as caught:
        compact_log(silent, str(tmp_path / "contents"))
    assert "labels" in caught.value.advice
