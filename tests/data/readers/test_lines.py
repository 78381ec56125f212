"""Lines that are too long, in another encoding, blank or broken; and that all of them are accounted for."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysample.core.config import LimitsConfig, SourceConfig
from raysample.core.errors import CorpusError
from raysample.data.log import compact_log
from raysample.data.readers.csv import Separated
from raysample.data.readers.json import JsonLines
from raysample.data.readers.lines import PhysicalLines
from raysample.data.readers.records import Account, LineRecord
from raysample.data.readers.streams import Unpacked
from raysample.data.schema import Part
from tests.helpers.labelled_files import quarantined
from tests.helpers.line_files import jsonl, read, refused, rows_of, separated, texts_of

pytestmark = pytest.mark.slow

ROWS = rows_of(40)
TEXTS = {row["id"]: row["text"] for row in ROWS}


def without(*names: str) -> dict[str, str]:
    return {name: text for name, text in TEXTS.items() if name not in names}


@pytest.mark.parametrize("blank", [b"\n", b"\n\n\n", b"\r\n", b"\xef\xbb\xbf\n"])
def test_a_header_may_stand_behind_blank_lines(blank: bytes, tmp_path: Path) -> None:
    for name, sign in (("a.csv", ","), ("a.tsv", "\t")):
        corpus = read(tmp_path, name, blank + separated(ROWS, {5: ""}, sign))
        assert texts_of(corpus) == without("r5")
        assert quarantined(corpus)[0]["line"] == 7 + blank.count(b"\n")


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (b"id,text,label,text", "names 'text' twice"),
        (b"id,text,label,,", "names '' twice"),
        (b'id,"text,label', "in line 1, cannot be read: quote opens"),
        (b"id,t\xff,label", "in line 1, cannot be read: line is not valid UTF-8"),
        (b"id,te\0xt,label", "in line 1, cannot be read: line holds a NUL byte"),
        (b"id;text;label", "has no column 'text'"),
    ],
)
def test_headers_that_cannot_be_used(header: bytes, match: str, tmp_path: Path) -> None:
    refused(tmp_path, "a.csv", header + separated(ROWS)[len(b"id,text,label") :], match)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_other_encodings_are_refused(name: str, encoding: str, tmp_path: Path) -> None:
    plain = separated(ROWS) if name[2:] in ("csv", "tsv") else jsonl(ROWS)
    error = refused(tmp_path, name, plain.decode().encode(encoding), "line formats are read in UTF-8")
    assert "iconv" in error.advice


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_lines_that_end_with_carriage_returns_alone(name: str, tmp_path: Path) -> None:
    content = separated(ROWS, end="\r") if name == "a.csv" else jsonl(ROWS).replace(b"\n", b"\r")
    refused(tmp_path, name, content, "end with carriage returns alone")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"r7,text", "wrong number of fields"),
        (b"r7,text,a,b", "wrong number of fields"),
        (b"r7,te\xffxt,a", "line is not valid UTF-8"),
        (b'r7,"te\xffxt",a', "line is not valid UTF-8"),
        (b"r7,te\0xt,a", "line holds a NUL byte"),
        (b"\0" * 20, "line holds a NUL byte"),
        (b"r7,te\rxt,a", "line is not valid CSV"),
        (b"r7," + b"x" * 600 + b",a", "value is larger than limits.value"),
        (b'r7,"' + b"x\n" * 300 + b'",a', "value is larger than limits.value"),
        (b"r7," + b"x" * 3_000 + b",a", "line is longer than limits.line"),
        (b'r7,"' + b"x" * 3_000 + b'",a', "line is longer than limits.line"),
        (b'r7,"' + b"x\n" * 1_500 + b'",a', "line is longer than limits.line"),
    ],
)
def test_a_broken_line_of_csv_costs_one_row(line: bytes, reason: str, tmp_path: Path) -> None:
    content = separated(ROWS).replace(b"r7,text 7,b", line)
    corpus = read(tmp_path, "a.csv", content, limits={"value": 500, "line": 2_000})
    assert corpus.quarantine == {reason: 1}
    assert texts_of(corpus) == without("r7")
    (row,) = quarantined(corpus)
    assert (row["row"], row["line"]) == (7, 9)


def test_a_quote_in_a_line_that_is_too_long(tmp_path: Path) -> None:
    content = separated(ROWS, {7: '"' + "x" * 3_000, 9: '"'})
    corpus = read(tmp_path, "a.csv", content, limits={"line": 2_000})
    assert corpus.counts["quarantined"] == 3
    assert texts_of(corpus) == without("r7", "r8", "r9")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"NaN", "text is missing"),
        (b"Infinity", "text is not a string"),
        (b"1e999", "text is not a string"),
        (b"9" * 5_000, "line is not valid JSON"),
        (b'"\\ud800"', "line is not valid UTF-8"),
        (b'"\xed\xa0\x80"', "line is not valid UTF-8"),
        (b'{"a": ' * 50_000 + b"1" + b"}" * 50_000, "line is not valid JSON"),
        (b'"x", "text": "y"', "JSON object names a key twice"),
        (b'{"a": 1, "a": 2}', "JSON object names a key twice"),
        (b'"a\0b"', "line holds a NUL byte"),
        (b'"' + b"x" * 600 + b'"', "value is larger than limits.value"),
        (b'"' + b"x" * 700_000 + b'"', "line is longer than limits.line"),
    ],
)
def test_a_broken_line_of_json_costs_one_row(value: bytes, reason: str, tmp_path: Path) -> None:
    content = jsonl(ROWS).replace(b'"text 7"', value)
    corpus = read(tmp_path, "a.jsonl", content, limits={"value": 500, "line": 600_000})
    assert corpus.quarantine == {reason: 1}
    assert texts_of(corpus) == without("r7")
    assert quarantined(corpus)[0]["line"] == 8


def test_an_escaped_pair_of_surrogates_is_text(tmp_path: Path) -> None:
    content = jsonl(ROWS).replace(b'"text 7"', b'"\\ud83d\\ude00 \\u0000"')
    assert texts_of(read(tmp_path, "a.jsonl", content))["r7"] == "\U0001f600 \0"


def test_a_line_that_is_too_long_is_not_held() -> None:
    class Endless(io.RawIOBase):
        """One gigabyte without a line feed, of which no reader may keep more than the limit and a piece."""

        left = 1 << 30

        def read(self, size: int = -1) -> bytes:
            assert 0 <= size <= 1 << 20
            size = min(size, self.left)
            self.left -= size
            return b"x" * size

        def seek(self, *_: int) -> int:
            self.left = 1 << 30
            return 0

    stream = Unpacked("a.jsonl", Endless(), 1 << 30, LimitsConfig())  # type: ignore[arg-type]
    lines = PhysicalLines(stream, 1 << 16)
    assert list(lines) == [(None, 0)]
    assert lines.count == 1


class TestLogs:
    """A log is read through the same readers."""

    @pytest.mark.parametrize("name", ["b.jsonl", "b.jsonl.gz", "b.jsonl.zst"])
    def test_what_cannot_be_read_is_an_error_or_in_quarantine(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "log").mkdir()
        (tmp_path / "log" / "a.jsonl").write_bytes(jsonl(ROWS))
        (tmp_path / "log" / name).write_text('["text", "a"]\n' * 10)
        source = SourceConfig(path=str(tmp_path / "log"), columns={"id": "id"}, max_quarantined=1.0)
        if name != "b.jsonl":
            with pytest.raises(CorpusError, match=rf"{name}' is named as"):
                compact_log(source, str(tmp_path / "contents"))
            return
        counts = compact_log(source, str(tmp_path / "contents")).counts
        assert (counts["in"], counts["usable"], counts["quarantined"]) == (50, 40, 10)

    def test_stray_quotes_and_arrays(self, tmp_path: Path) -> None:
        (tmp_path / "log").mkdir()
        (tmp_path / "log" / "a.csv").write_bytes(separated(ROWS, {7: '"text', 9: '"text'}))
        source = SourceConfig(path=str(tmp_path / "log"), columns={"id": "id"}, max_quarantined=0.05)
        with pytest.raises(CorpusError, match="3 of 40 rows") as caught:
            compact_log(source, str(tmp_path / "contents"))
        assert "set quoting: none" in caught.value.advice
        (tmp_path / "log" / "a.csv").unlink()
        (tmp_path / "log" / "b.jsonl").write_text(json.dumps(ROWS, indent=1))
        assert compact_log(source, str(tmp_path / "contents")).counts["usable"] == 40


@dataclass(frozen=True)
class Losing(Separated):
    """A reader that loses the fifth record."""

    def _records(self, *given: Any) -> Iterator[LineRecord]:
        for place, record in enumerate(super()._records(*given)):
            if place != 4:
                yield record


@dataclass(frozen=True)
class Inventing(Separated):
    """A reader that tells the fifth record twice."""

    def _records(self, *given: Any) -> Iterator[LineRecord]:
        for place, record in enumerate(super()._records(*given)):
            yield from [record] * (2 if place == 4 else 1)


@dataclass(frozen=True)
class Stopping(Separated):
    """A reader that stops in the middle of the file, and is content."""

    def _records(self, part: Part, stream: Unpacked, account: Account, offset: int) -> Iterator[LineRecord]:
        for place, record in enumerate(super()._records(part, stream, account, offset)):
            if place == 4:
                account.total = 5
                return
            yield record


@pytest.mark.parametrize("kind", [Losing, Inventing, Stopping])
def test_a_reader_that_loses_or_invents_a_line_is_caught(kind: type[Separated], tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(separated(rows_of(30_000)))
    part = Part(str(path), "a.csv")
    assert sum(batch.rows for batch in Separated().batches(part, ["text"], 1_000)) == 30_000
    with pytest.raises(CorpusError, match="lines were lost or invented") as caught:
        list(kind().batches(part, ["text"], 1_000))
    assert "please report this" in caught.value.advice


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.binary(max_size=60).map(lambda tail: tail.replace(b"\r", b"")), st.sampled_from(["jsonl", "csv", "tsv"]))
def test_every_line_of_any_file_is_a_record_or_blank(tail: bytes, form: str) -> None:
    good = jsonl(ROWS[:3]) if form == "jsonl" else separated(ROWS[:3], sign="," if form == "csv" else "\t")
    data = good + tail
    part = Part(f"a.{form}", f"a.{form}")
    reader: Any = JsonLines() if form == "jsonl" else Separated()
    account, stream = Account(part), Unpacked(part.uri, io.BytesIO(data), len(data), LimitsConfig())
    records = list(reader._records(part, stream, account, 0))
    account.enter(records)
    account.close(stream)
    assert account.total == data.count(b"\n") + (not data.endswith(b"\n"))
    assert [values and values["id"] for values, *_ in records[:3]] == ["r0", "r1", "r2"]
