"""Compressions are told by what is in a file; a stream that is cut off, damaged or too large is refused by name."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from raysample.core.config import SourceConfig
from raysample.core.errors import CorpusError
from raysample.data.corpus import describe_source
from raysample.data.readers import streams
from tests.helpers.line_files import jsonl, read, refused, rows_of, separated, texts_of

pytestmark = pytest.mark.slow

ROWS = rows_of(40)
TEXTS = {row["id"]: row["text"] for row in ROWS}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


def noisy(count: int) -> bytes:
    """Return lines that hardly shrink, so that cuts fall into the middle of the rows."""
    draw = random.Random(1)
    rows = [{"id": f"r{i}", "text": f"{draw.getrandbits(400):x}", "label": "ab"[i % 2]} for i in range(count)]
    return jsonl(rows)


@pytest.mark.parametrize("suffix", PACKERS)
def test_every_line_format_is_read_packed(suffix: str, tmp_path: Path) -> None:
    pack = PACKERS[suffix]
    assert texts_of(read(tmp_path, f"a.jsonl{suffix}", pack(jsonl(ROWS)))) == TEXTS
    assert texts_of(read(tmp_path, f"a.json{suffix}", pack(json.dumps(ROWS, indent=1).encode()))) == TEXTS
    assert texts_of(read(tmp_path, f"a.csv{suffix}", pack(separated(ROWS)))) == TEXTS
    assert texts_of(read(tmp_path, f"a.tsv{suffix}", pack(separated(ROWS, sign="\t")))) == TEXTS


@pytest.mark.parametrize("suffix", PACKERS)
def test_the_suffix_of_a_compression_may_be_missing_but_may_not_lie(suffix: str, tmp_path: Path) -> None:
    pack = PACKERS[suffix]
    assert texts_of(read(tmp_path, "a.jsonl", pack(jsonl(ROWS)))) == TEXTS
    assert texts_of(read(tmp_path, "b.csv", pack(separated(ROWS)))) == TEXTS
    assert texts_of(read(tmp_path, "b.jsonl.gz", pack(jsonl(ROWS)))) == TEXTS
    assert texts_of(read(tmp_path, f"c.jsonl{suffix}", pack(jsonl(ROWS[:9])) + pack(jsonl(ROWS[9:])))) == TEXTS
    for content in (jsonl(ROWS), b"", pack(jsonl(ROWS))[:1]):
        error = refused(tmp_path, f"a.jsonl{suffix}", content, "is named as")
        assert "leave it out of the folder" in error.advice


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9, 0.999])
def test_a_stream_that_was_cut_off(suffix: str, share: float, tmp_path: Path) -> None:
    data = PACKERS[suffix](noisy(400))
    error = refused(tmp_path, f"a.jsonl{suffix}", data[: int(len(data) * share)], "is not a whole .* stream")
    assert "copy or write it again" in error.advice
    refused(tmp_path, "a.jsonl", data[: int(len(data) * share)], "is not a whole .* stream")


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_a_stream_that_was_damaged_or_goes_on(suffix: str, tmp_path: Path) -> None:
    data = PACKERS[suffix](noisy(400))
    half = len(data) // 2
    refused(tmp_path, f"a.jsonl{suffix}", data[:half] + b"\xff" * 20 + data[half + 20 :], "is not a whole")
    for behind in (b"rubbish", data[3:], b"\0\0\0rubbish behind zeros"):
        refused(tmp_path, f"a.jsonl{suffix}", data + behind, "follows something else")
    assert read(tmp_path, f"a.jsonl{suffix}", data + b"\0" * 512).rows == 400


def test_a_cut_file_among_whole_ones_is_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(jsonl(ROWS))
    (tmp_path / "in" / "b.jsonl.gz").write_bytes(gzip.compress(noisy(200))[:-9])
    with pytest.raises(CorpusError, match=r"b\.jsonl\.gz' is not a whole gzip stream"):
        describe_source(SourceConfig(path=str(tmp_path / "in")), str(tmp_path / "corpus"))


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_file_that_unpacks_to_too_much(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "FREE_BYTES", 1 << 18)
    data = PACKERS[suffix](jsonl(ROWS) + b"\n" * (1 << 20))
    error = refused(tmp_path, f"a.jsonl{suffix}", data, "limits.expansion=10.0 allows", limits={"expansion": 10})
    assert "raise limits.expansion" in error.advice
    refused(tmp_path, f"a.jsonl{suffix}", data, "limits.unpacked=100,000 allows", limits={"unpacked": "100 kB"})
    assert read(tmp_path, f"a.jsonl{suffix}", data, limits={"expansion": 1e9}).rows == 40


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PAR1\x15\x04", "a Parquet file"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"\x04\x22\x4d\x18rest", "an lz4 stream"),
        (b"SQLite format 3\x00", "an SQLite database"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
def test_other_formats_under_the_name_of_lines(name: str, content: bytes, what: str, tmp_path: Path) -> None:
    refused(tmp_path, name, content, f"is {what}, not a file of lines")
