"""Quotes that nothing closes cost the rows that nobody can tell, each counted and with its line; never others."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysample.core.config import LimitsConfig
from raysample.data.readers.csv import Separated
from raysample.data.readers.quotes import State, grammar
from raysample.data.readers.records import Account
from raysample.data.readers.streams import Unpacked
from raysample.data.schema import Part
from tests.helpers.labelled_files import quarantined
from tests.helpers.line_files import read, refused, rows_of, separated, texts_of

pytestmark = pytest.mark.slow

ROWS = rows_of(60)
TEXTS = {row["id"]: row["text"] for row in ROWS}
OPENED = "quote opens in this line and does not close properly"
BEHIND = "line is behind a quote that does not close properly"
ROWS_INSIDE = "line is inside quotes that span what look like whole rows"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("texts", "gone"),
    [
        ({7: '"text', 27: '"text'}, range(7, 28)),  # the second one closes nothing, but who knows what is a text
        ({7: '"text'}, range(7, 60)),
        ({59: '"text'}, range(59, 60)),
        ({0: '"text'}, range(60)),
        ({7: '"he" said', 27: '"a"b"c"'}, [7, 27]),
        ({7: '"he said "hi" to me', 9: 'and "more', 30: '"x'}, [*range(7, 10), *range(30, 60)]),
    ],
)
def test_lines_behind_a_stray_quote_are_set_aside(
    texts: dict[int, str], gone: range | list[int], end: str, tmp_path: Path
) -> None:
    content = separated(ROWS, texts, end=end)
    if len(gone) == 60:
        error = refused(tmp_path, "a.csv", content, "no usable row: 60 read, 60 in quarantine")
        return
    corpus = read(tmp_path, "a.csv", content)
    assert corpus.counts == {"in": 60, "usable": 60 - len(gone), "quarantined": len(gone), "filtered": 0}
    assert texts_of(corpus) == {f"r{i}": f"text {i}" for i in range(60) if i not in gone}
    found = quarantined(corpus)
    assert [row["line"] for row in found] == [i + 2 for i in gone]  # the header is line 1
    assert found[0]["reason"] == OPENED
    assert {row["reason"] for row in found} <= {OPENED, BEHIND}
    if len(gone) > 6:
        error = refused(tmp_path, "a.csv", content, f"see line {gone[0] + 2} of 'a.csv'", max_quarantined=0.1)
        assert "set quoting: none for the source" in error.advice


def test_a_text_that_begins_and_one_that_ends_with_a_quote_do_not_become_one(tmp_path: Path) -> None:
    corpus = read(tmp_path, "a.csv", separated(ROWS, {7: '"text 7', 27: 'text 27"'}))
    assert corpus.quarantine == {ROWS_INSIDE: 21}
    assert texts_of(corpus) == {name: text for name, text in TEXTS.items() if not 7 <= int(name[1:]) <= 27}


@pytest.mark.parametrize("text", ['5" disk', 'say "x" twice', 'end"'])
def test_a_quote_inside_an_unquoted_field_is_a_sign(text: str, tmp_path: Path) -> None:
    assert texts_of(read(tmp_path, "a.csv", separated(ROWS, {7: text}))) == {**TEXTS, "r7": text}


@pytest.mark.parametrize(
    "text", ["two\nlines", "\n\n", "a,b\nc,d\n" * 30_000, 'a "quoted"\r\nword', "x\n" + '"' * 8, "a, b, c\nd, e, f\n"]
)
def test_fields_that_close_properly_may_span_lines(text: str, tmp_path: Path) -> None:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(ROWS[0]))
    writer.writeheader()
    writer.writerows([*ROWS[:9], {"id": "long", "text": "x" + text, "label": "a"}, *ROWS[9:]])
    corpus = read(tmp_path, "a.csv", stream.getvalue().encode())
    assert texts_of(corpus) == {**TEXTS, "long": "x" + text}
    assert corpus.quarantine == {}


def test_tabs_have_no_quotes_unless_asked_for(tmp_path: Path) -> None:
    content = separated(ROWS, {i: f'"text {i}' for i in range(7, 60, 10)}, sign="\t")
    expected = {**TEXTS, **{f"r{i}": f'"text {i}' for i in range(7, 60, 10)}}
    assert texts_of(read(tmp_path, "a.tsv", content)) == expected
    assert texts_of(read(tmp_path, "a.TSV.gz", gzip.compress(content))) == expected
    # asked for, they cost the lines from 7 to 17, from 27 to 37 and from 47 to 57
    assert read(tmp_path, "a.tsv", content, quoting="minimal").quarantine == {BEHIND: 30, OPENED: 3}
    assert texts_of(read(tmp_path, "b.csv", separated(ROWS, {7: '"text'}), quoting="none"))["r7"] == '"text'


def test_delimiter_and_escape(tmp_path: Path) -> None:
    content = separated(ROWS, {7: "one|two", 8: '"one;two"'}, sign=";")
    assert texts_of(read(tmp_path, "a.csv", content, delimiter=";")) == {**TEXTS, "r7": "one|two", "r8": "one;two"}
    escaped = separated(ROWS, {7: r"one\,two", 8: r'"say \"x\", \\"', 9: "two\\\nlines", 10: "end\\\\"})
    expected = {**TEXTS, "r7": "one,two", "r8": 'say "x", \\', "r9": "two\nlines", "r10": "end\\"}
    assert texts_of(read(tmp_path, "a.csv", escaped, escape="\\")) == expected
    plain = separated(ROWS, {7: r"one\,two", 9: "two\\\nlines", 10: '"'})
    expected = {**TEXTS, "r7": "one,two", "r9": "two\nlines", "r10": '"'}
    assert texts_of(read(tmp_path, "a.csv", plain, escape="\\", quoting="none")) == expected


@pytest.mark.parametrize("last", ['"open', '"open\n"x', "fine"])
def test_a_quote_may_not_stay_open_for_ever(last: str, tmp_path: Path) -> None:
    content = separated(ROWS, {7: '"text' + "\nx,y,z" * 50 + last})
    refused(tmp_path, "a.csv", content, r"opens in line 9 .* more than 40 lines", limits={"quoted_lines": 40})


def test_states_at_the_end_of_a_line() -> None:
    rules = grammar(",", None, True)
    assert [rules.first(text) for text in ('a,"b""c",', "", 'a,"b""', 'a,"b"c', '"","')] == [
        State.CLOSED,
        State.CLOSED,
        State.OPEN,
        State.BROKEN,
        State.OPEN,
    ]
    assert [rules.next(text) for text in ('""', 'x",y', 'x","y', 'x"y', 'x"""')] == [
        State.OPEN,
        State.CLOSED,
        State.OPEN,
        State.BROKEN,
        State.CLOSED,
    ]
    assert rules.split('"a ""b""",,c"d,""') == ['a "b"', "", 'c"d', ""]


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.lists(st.lists(st.text('a,"\n\r;\\ ü', max_size=9), min_size=2, max_size=2), max_size=12), st.booleans())
def test_what_csv_writes_is_read(rows: list[list[str]], escaped: bool) -> None:
    stream = io.StringIO(newline="")
    options = {"doublequote": False, "escapechar": "\\"} if escaped else {}
    csv.writer(stream, quoting=csv.QUOTE_ALL, **options).writerows([["one", "two"], *rows])
    data = stream.getvalue().encode()
    part, reader = Part("a.csv", "a.csv"), Separated(escape="\\" if escaped else None)
    account = Account(part)
    file = Unpacked("a.csv", io.BytesIO(data), len(data), LimitsConfig())
    found = list(reader._records(part, file, account, 0))
    account.enter(found)
    account.close(file)
    if all(code == 0 for _, code, *_ in found):
        assert [list((values or {}).values()) for values, *_ in found] == rows
    else:  # lines that look like rows of their own, and are therefore neither read nor lost
        assert len(found) >= len(rows)
