"""Rows that cannot be used are set aside with the right reason, and the counts add up."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raysample.core import storage
from raysample.core.errors import CorpusError
from raysample.data.corpus import QUARANTINE
from raysample.data.schema import REASONS
from tests.helpers.labelled_files import (
    described,
    quarantined,
    rows_of,
    write_csv,
    write_datasets,
    write_jsonl,
    write_parquet,
)

pytestmark = pytest.mark.slow

GOOD = [{"id": f"good {i}", "text": f"text {i}", "pair": f"pair {i}", "label": "ab"[i % 2]} for i in range(4)]
ALL = {"id": "id", "text_pair": "pair"}

JSON_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"text": None}, "text is missing"),
    ({"text": ""}, "text is empty"),
    ({"text": " \t\n "}, "text is empty"),
    ({"text": 3}, "text is not a string"),
    ({"text": 2.5}, "text is not a string"),
    ({"text": True}, "text is not a string"),
    ({"text": ["a"]}, "text is not a string"),
    ({"text": {"a": 1}}, "text is not a string"),
    ({"pair": None}, "text_pair is missing"),
    ({"pair": "  "}, "text_pair is empty"),
    ({"pair": 7}, "text_pair is not a string"),
    ({"label": None}, "label is missing"),
    ({"label": math.nan}, "label is missing"),
    ({"label": -1}, "label is -1, taken for no label (labels.missing)"),
    ({"label": "-1"}, "label is -1, taken for no label (labels.missing)"),
    ({"label": -1.0}, "label is -1, taken for no label (labels.missing)"),
    ({"label": "-1.0"}, "label is -1, taken for no label (labels.missing)"),
    ({"label": "-"}, "label is '-', taken for no consensus (labels.missing)"),
    ({"label": " - "}, "label is '-', taken for no consensus (labels.missing)"),
    ({"label": ""}, "label is empty"),
    ({"label": "  "}, "label is empty"),
    ({"label": 0.37}, "label is not a whole number"),
    ({"label": math.inf}, "label is not a whole number"),
    ({"label": ["a"]}, "label is neither a string nor an integer"),
    ({"label": {"a": 1}}, "label is neither a string nor an integer"),
    ({"label": 10**30}, "label is neither a string nor an integer"),
    ({"id": None}, "id is missing"),
    ({"id": ""}, "id is missing"),
    ({"id": [1]}, "id is neither a string nor a number"),
    ({"id": "good 0"}, "duplicate id"),
]


@pytest.mark.parametrize(("fault", "reason"), JSON_FAULTS)
def test_each_fault_of_a_json_row_has_its_reason(fault: dict[str, Any], reason: str, tmp_path: Path) -> None:
    bad = {"id": "bad", "text": "text", "pair": "pair", "label": "a", **fault}
    path = write_jsonl(tmp_path / "rows.jsonl", [*GOOD, bad, {**GOOD[0], "id": "last"}])
    corpus = described(tmp_path, path, ALL, max_quarantined=1)
    assert corpus.quarantine == {reason: 1}
    assert corpus.counts == {"in": 6, "usable": 5, "quarantined": 1, "filtered": 0}
    (row,) = quarantined(corpus)
    assert (row["file"], row["row"], row["stage"], row["reason"]) == ("rows.jsonl", 4, "corpus", reason)
    assert row["row_id"] == (None if reason.startswith("id is") else bad["id"])
    assert "bad" not in corpus.table()["row_id"].to_pylist()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "a", "lab', "line is not valid JSON"),
        (b"[" * 100_000, "line is not valid JSON"),
        (b'["a", 1]', "line is not a JSON object"),
        (b"null", "line is not a JSON object"),
        (b'{"text": "\xff\xfe", "label": "a"}', "line is not valid UTF-8"),
        (b'{"text": "\\ud800", "label": "a"}', "line is not valid UTF-8"),
    ],
)
def test_a_broken_json_line_is_set_aside_and_reading_goes_on(line: bytes, reason: str, tmp_path: Path) -> None:
    rows = [json.dumps(row).encode() for row in GOOD]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join([*rows[:2], line, *rows[2:]]))
    corpus = described(tmp_path, tmp_path / "rows.jsonl", ALL, max_quarantined=1, shard_rows=2)
    assert corpus.quarantine == {reason: 1}
    assert quarantined(corpus)[0]["row"] == 2
    assert corpus.table()["text"].to_pylist() == [row["text"] for row in GOOD]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"bad,text,pair", "wrong number of fields"),
        (b"bad,text,pair,a,more", "wrong number of fields"),
        (b"bad,\xff\xfe,pair,a", "line is not valid UTF-8"),
        (b"bad,te\rxt,pair,a", "line is not valid CSV"),
        (b"bad,,pair,a", "text is empty"),
        (b"bad,text,pair,", "label is empty"),
        (b"bad,text,pair,-1", "label is -1, taken for no label (labels.missing)"),
        (b",text,pair,a", "id is missing"),
    ],
)
def test_each_fault_of_a_csv_row_has_its_reason(line: bytes, reason: str, tmp_path: Path) -> None:
    rows = [",".join(row.values()).encode() for row in GOOD]
    (tmp_path / "rows.csv").write_bytes(b"\r\n".join([b"id,text,pair,label", *rows[:3], b"", line, rows[3]]))
    corpus = described(tmp_path, tmp_path / "rows.csv", ALL, max_quarantined=1, shard_rows=2)
    assert corpus.quarantine == {reason: 1}
    assert quarantined(corpus)[0]["row"] == 3
    assert corpus.table()["text"].to_pylist() == [row["text"] for row in GOOD]


def test_parquet_strings_that_are_no_utf8_are_set_aside(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"\xff\xfe", b"fine too", b"fine"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 4, raw.buffers())
    label = pa.array(["a", "b", "b", "a"])
    pq.write_table(pa.table({"text": text, "label": label}), tmp_path / "rows.parquet")
    corpus = described(tmp_path, tmp_path / "rows.parquet", {}, max_quarantined=1)
    assert corpus.quarantine == {"text is not valid UTF-8": 1}
    pq.write_table(pa.table({"text": ["a", "b", "c", "d"], "label": text}), tmp_path / "rows.parquet")
    assert described(tmp_path, tmp_path / "rows.parquet", {}, max_quarantined=1).quarantine == {
        "label is not valid UTF-8": 1
    }


def test_parquet_columns_of_the_wrong_type(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": [1]}, {"text": "b", "label": None}]
    path = write_parquet(tmp_path / "lists.parquet", rows)
    with pytest.raises(CorpusError, match="label is neither a string nor an integer: 1"):
        described(tmp_path, path, {})


def test_a_repeated_id_keeps_its_first_row_across_files(tmp_path: Path) -> None:
    for name, start in (("a", 0), ("b", 3)):
        rows = [{"id": i, "text": f"{name} {i}", "label": i % 2} for i in range(start, start + 5)]
        write_parquet(tmp_path / "in" / f"{name}.parquet", rows)
    corpus = described(tmp_path, tmp_path / "in", {"id": "id"}, max_quarantined=1, shard_rows=2)
    assert corpus.table()["row_id"].to_pylist() == [str(i) for i in range(8)]
    assert corpus.table()["text"].to_pylist()[3:5] == ["a 3", "a 4"]
    assert [(row["file"], row["row"], row["row_id"], row["reason"]) for row in quarantined(corpus)] == [
        ("b.parquet", 0, "3", "duplicate id"),
        ("b.parquet", 1, "4", "duplicate id"),
    ]


def test_the_quarantine_has_its_schema_and_never_the_text(tmp_path: Path) -> None:
    rows = [*GOOD, {"id": "bad", "text": "secret words", "pair": "secret words", "label": None}]
    corpus = described(tmp_path, write_parquet(tmp_path / "rows.parquet", rows), ALL, max_quarantined=1)
    (file,) = storage.list_files(storage.join(corpus.uri, "quarantine"))
    table = storage.read_parquet(file)
    assert table.schema == QUARANTINE.append(pa.field("line", pa.int64()))
    assert b"secret" not in Path(file).read_bytes()
    clean = described(tmp_path, write_parquet(tmp_path / "clean.parquet", GOOD), ALL)
    assert quarantined(clean) == []


def test_a_datasets_folder_has_the_same_verdicts(tmp_path: Path) -> None:
    rows = [*GOOD, {"id": "x", "text": "", "pair": "p", "label": "a"}, {**GOOD[0], "id": None}]
    found = [
        described(tmp_path, write(tmp_path / name, rows), ALL, max_quarantined=1)
        for name, write in (("on_disk", write_datasets), ("rows.parquet", write_parquet), ("rows.csv", write_csv))
    ]
    assert {tuple(sorted(corpus.quarantine.items())) for corpus in found} == {
        (("id is missing", 1), ("text is empty", 1))
    }


def test_every_reason_is_said_once() -> None:
    assert len(set(REASONS)) == len(REASONS)


VALUES = st.one_of(
    st.none(),
    st.integers(-2, 3),
    st.floats(allow_nan=True, allow_infinity=False, width=16),
    st.booleans(),
    st.sampled_from(["a", "b", "", " ", "-", "-1", "1"]),
    st.just([1]),
)
MIXED = st.fixed_dictionaries(
    {"id": st.one_of(st.none(), st.integers(0, 30), st.text(max_size=2)), "text": VALUES, "label": VALUES}
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(MIXED, max_size=25), size=st.integers(3, 30), limit=st.one_of(st.none(), st.integers(1, 12)))
def test_counts_add_up_for_any_mixture(
    rows: list[dict[str, Any]], size: int, limit: int | None, tmp_path: Path
) -> None:
    base = [{"id": f"base {i}", "text": "x", "label": "ab"[i % 2]} for i in range(24)]
    path = write_jsonl(tmp_path / "rows.jsonl", [*base, *rows])
    options: dict[str, Any] = {"labels": ["a", "b"], "unseen_labels": "quarantine", "max_quarantined": 1}
    corpus = described(tmp_path, path, {"id": "id"}, shard_rows=size, limit=limit, **options)
    counts = corpus.counts
    assert counts["in"] == 24 + len(rows) == counts["usable"] + counts["quarantined"] + counts["filtered"]
    assert sum(corpus.quarantine.values()) == counts["quarantined"] == len(quarantined(corpus))
    assert sum(shard.rows for shard in corpus.shards) == sum(corpus.class_counts) == counts["usable"]
    assert corpus.rows == counts["usable"] == min(limit or 99, corpus.rows) == corpus.table().num_rows
    assert all(shard.rows <= size for shard in corpus.shards)
    ids = corpus.table()["row_id"].to_pylist()
    assert len(ids) == len(set(ids))


def test_a_described_folder_is_replaced_whole(tmp_path: Path) -> None:
    bad = [{**row, "id": f"{row['id']} {i}", "label": None} for i, row in enumerate(rows_of(20))]
    path = write_jsonl(tmp_path / "rows.jsonl", [*rows_of(20), *bad])
    assert len(quarantined(described(tmp_path, path, max_quarantined=1))) == 20
    again = described(tmp_path, write_jsonl(path, rows_of(20)))
    assert quarantined(again) == []
