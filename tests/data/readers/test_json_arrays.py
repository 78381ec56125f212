"""A JSON array is read wherever it lies; of a damaged one nobody knows what it held, so it is refused by name."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from raysample.core.config import LimitsConfig, SourceConfig
from raysample.core.errors import CorpusError
from raysample.data.corpus import describe_source
from raysample.data.readers import json_arrays
from raysample.data.readers.streams import Unpacked
from raysample.data.schema import Part
from tests.helpers.labelled_files import quarantined
from tests.helpers.line_files import jsonl, read, refused, rows_of, texts_of

pytestmark = pytest.mark.slow

ROWS = rows_of(40)
TEXTS = {row["id"]: row["text"] for row in ROWS}
LAYOUTS: dict[str, dict[str, Any]] = {"plain": {}, "indented": {"indent": 2}, "tight": {"separators": (",", ":")}}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson"])
def test_an_array_is_read_under_any_name(name: str, layout: str, tmp_path: Path) -> None:
    content = json.dumps(ROWS, **LAYOUTS[layout]).encode()
    assert texts_of(read(tmp_path, name, content)) == TEXTS
    assert texts_of(read(tmp_path, name, b"\xef\xbb\xbf \n " + content + b"\n \n")) == TEXTS
    assert texts_of(read(tmp_path, "lines.json", jsonl(ROWS))) == TEXTS


def test_an_array_beside_lines_gives_all_rows(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(jsonl(ROWS[:20]))
    (tmp_path / "in" / "b.jsonl").write_text(json.dumps(ROWS[20:], indent=1))
    (tmp_path / "in" / "info.json").write_text('{"name": "a data set"}')
    corpus = describe_source(SourceConfig(path=str(tmp_path / "in"), columns={"id": "id"}), str(tmp_path / "corpus"))
    assert texts_of(corpus) == TEXTS


def test_json_alone_in_a_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for half in (0, 1):
        (tmp_path / "in" / f"{half}.json").write_text(json.dumps(ROWS[half::2]))
    corpus = describe_source(SourceConfig(path=str(tmp_path / "in"), columns={"id": "id"}), str(tmp_path / "corpus"))
    assert texts_of(corpus) == TEXTS


def test_elements_larger_than_what_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_arrays, "_CHUNK", 16)
    rows = [{**row, "text": row["text"] * (1 + i), "more": [{"a": "]}"}, i]} for i, row in enumerate(ROWS)]
    corpus = read(tmp_path, "a.json", json.dumps(rows, indent=1).encode())
    assert texts_of(corpus) == {row["id"]: row["text"] for row in rows}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.77, 0.999])
def test_an_array_that_was_cut_off(layout: str, share: float, tmp_path: Path) -> None:
    content = json.dumps(ROWS, **LAYOUTS[layout]).encode()
    error = refused(tmp_path, "a.json", content[: int(len(content) * share)], "is no whole JSON array: it ends")
    assert "copy or write it again" in error.advice


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"text 7"', '"text 7', "a.json"),
        ('"text 7",', '"text 7"', "is damaged in line 40"),
        ('"text 7"', "text 7", "is damaged in line 39"),
        ('"id": "r7"', '"id" "r7"', "is damaged in line 38"),
        (
            '"label": "b"\n  },\n  {\n    "id": "r8"',
            '"label": "b"\n  }\n  {\n    "id": "r8"',
            "not a comma, in line 42",
        ),
        ('"label": "b"\n  },\n  {\n    "id": "r8"', '"label": "b"\n  ],\n  {\n    "id": "r8"', "a.json"),
        ("\n  }\n]", "\n  }\n]]", "goes on after its end"),
        ("\n  }\n]", "\n  },\n]", "a.json"),
        ("\n  }\n]", '\n  }\n]\n[{"id": "x"}]', "goes on after its end"),
    ],
)
def test_damage_in_the_middle_of_an_array(old: str, new: str, match: str, tmp_path: Path) -> None:
    content = json.dumps(ROWS, indent=2)
    assert content.count(old) == 1
    refused(tmp_path, "a.json", content.replace(old, new).encode(), match)


def test_elements_that_are_no_rows_are_set_aside(tmp_path: Path) -> None:
    odd = [1, "x", None, [1, [2]], True, -1.5e3]
    corpus = read(tmp_path, "a.json", json.dumps([*ROWS[:9], *odd, *ROWS[9:]], indent=2).encode())
    assert corpus.quarantine == {"line is not a JSON object": 6}
    assert [row["row"] for row in quarantined(corpus)] == list(range(9, 15))
    assert quarantined(corpus)[0]["line"] == 9 * 5 + 2
    assert texts_of(corpus) == TEXTS


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'"\xff\xfe"', "line is not valid UTF-8"),
        (b'"\\ud800"', "line is not valid UTF-8"),
        (b"[" * 100_000 + b"]" * 100_000, "line is not valid JSON"),
        (b"9" * 5_000, "line is not valid JSON"),
        (b'"x", "text": "y"', "JSON object names a key twice"),
    ],
)
def test_values_that_cannot_be_read_cost_one_element(value: bytes, reason: str, tmp_path: Path) -> None:
    content = json.dumps(ROWS).encode().replace(b'"text 7"', value)
    corpus = read(tmp_path, "a.json", content)
    assert corpus.quarantine == {reason: 1}
    assert texts_of(corpus) == {name: text for name, text in TEXTS.items() if name != "r7"}


def test_an_element_may_not_be_endless(tmp_path: Path) -> None:
    content = json.dumps([*ROWS, {"text": "x" * 5_000}]).encode()
    error = refused(tmp_path, "a.json", content, r"longer than 1,000 bytes", limits={"line": 1_000})
    assert "raise limits.line" in error.advice


@pytest.mark.parametrize("line", ['["text", "a"]', "[]", "[[1], [2]]", "[1, 2", '"text"'])
def test_lists_per_line_are_lines_and_no_rows(line: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(jsonl(ROWS))
    (tmp_path / "in" / "b.jsonl").write_text(f"{line}\n" * 30)
    source = SourceConfig(path=str(tmp_path / "in"), columns={"id": "id"})
    with pytest.raises(CorpusError, match=r"30 of 70 rows .*line 1 of 'b.jsonl'"):
        describe_source(source, str(tmp_path / "corpus"))
    corpus = describe_source(source.model_copy(update={"max_quarantined": 1.0}), str(tmp_path / "corpus"))
    assert corpus.counts == {"in": 70, "usable": 40, "quarantined": 30, "filtered": 0}


def test_blanks_between_elements_are_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_arrays, "_CHUNK", 1 << 10)
    blanks = b" \n" * (1 << 16)
    content = b"[" + (blanks + b",").join(json.dumps(row).encode() + blanks for row in ROWS[:5]) + b"]" + blanks
    part = Part("a.json", "a.json")
    stream = Unpacked(part.uri, io.BytesIO(content), len(content), LimitsConfig())
    array, held = json_arrays.Array(stream, 1 << 20), []
    for element, begin, _ in array.elements():
        assert content[begin : begin + len(element)] == element
        held.append(len(array._held))
    assert array.expected == 5
    assert max(held) <= 2 << 10
    assert texts_of(read(tmp_path, "a.json", content)) == {row["id"]: row["text"] for row in ROWS[:5]}
