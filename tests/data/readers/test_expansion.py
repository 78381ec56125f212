"""A Parquet file that unpacks to more than the limits allow is refused by name before its rows are decoded."""

from __future__ import annotations

import io
import resource
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysample.core.config import LimitsConfig
from raysample.core.errors import CorpusError
from raysample.data.log import compact_log
from raysample.data.readers import expansion
from raysample.data.readers.arrow_files import unpacked_size
from raysample.data.readers.arrow_validity import longer_than
from raysample.data.readers.columnar import Parquet
from raysample.data.readers.expansion import check_expansion, dictionary_size
from tests.helpers.labelled_files import described, quarantined, source

pytestmark = pytest.mark.slow

ROWS = 1 << 16
LABELS = pa.array(["a", "b"] * (ROWS // 2))


def repeated(values: list[Any], rows: int = ROWS) -> pa.DictionaryArray:
    """Return a column of so many rows that takes the memory of its distinct values alone."""
    return pa.DictionaryArray.from_arrays(
        pa.array([i % len(values) for i in range(rows)], pa.int32()), pa.array(values)
    )


def long_text() -> dict[str, Any]:
    return {"text": repeated(["x" * (1 << 20)]), "label": LABELS}


def long_text_among_short() -> dict[str, Any]:
    values = [f"text {i}" for i in range(50)] + ["x" * 900_000]
    return {"text": repeated(values), "label": LABELS}


def long_label() -> dict[str, Any]:
    return {"text": repeated(["some text", "other"]), "label": repeated(["a" * 400_000, "b" * 500_000])}


@pytest.mark.parametrize("made", [long_text, long_text_among_short, long_label])
@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_a_dictionary_that_unpacks_to_gibibytes_is_refused_by_name(made: Any, compression: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table(made()), path, compression=compression)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for call in (lambda: described(tmp_path, path, {}), lambda: compact_log(source(path, {}), str(tmp_path / "log"))):
        with pytest.raises(CorpusError, match=r"raise limits\.(row_group|expansion)") as caught:
            call()
        assert "bomb.parquet" in caught.value.problem
    # ru_maxrss is in KiB: 64 GiB, or one of them, were never held
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 700_000


def test_a_run_of_numbers_is_refused_by_name(tmp_path: Path) -> None:
    table = pa.table({"text": repeated(["a", "b"], 1 << 20), "label": pa.array([7] * (1 << 20), pa.int64())})
    with pq.ParquetWriter(tmp_path / "bomb.parquet", table.schema, compression="zstd") as writer:
        for _ in range(24):
            writer.write_table(table)
    assert (tmp_path / "bomb.parquet").stat().st_size < 4_000_000
    with pytest.raises(CorpusError, match=r"bomb\.parquet.* more than limits\.expansion=10\.0 allows"):
        described(tmp_path, tmp_path / "bomb.parquet", {}, limits={"expansion": 10})


def test_repeated_texts_of_a_log_are_no_bomb(tmp_path: Path) -> None:
    texts = [f"turn the light of room {i} on" for i in range(40)]
    pq.write_table(pa.table({"text": repeated(texts), "label": LABELS}), tmp_path / "a.parquet")
    assert compact_log(source(tmp_path / "a.parquet", {}), str(tmp_path / "log")).counts["usable"] == ROWS


def checked(table: pa.Table, limits: LimitsConfig, **options: Any) -> None:
    stream = io.BytesIO()
    pq.write_table(table, stream, **options)
    check_expansion(stream, pq.ParquetFile(stream), "a.parquet", table.column_names, limits)


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"dictionary_pagesize_limit": 40}], ids=str)
@pytest.mark.parametrize(
    ("column", "unpacked"),
    [
        (pa.array(["abc", "de", None, "abc"] * 100), 100 * (8 + 4 * 4)),
        (pa.array([b"abc", b"de", None, b"abc"] * 100), 100 * (8 + 4 * 4)),
        (repeated(["abc", "de"], 400), 400 * 4 + 200 * 5),
        (pa.array([["abc", "de"], [], None, ["x"]] * 100), 100 * (6 + 4 * 3)),
        (pa.array([{"k": "abc"}, {"k": "d"}] * 100), 100 * (4 + 4 * 2)),
        (pa.array([[("k", "abc")]] * 100, pa.map_(pa.string(), pa.string())), 100 * (4 + 4 * 2)),
    ],
    ids=["strings", "bytes", "dictionary", "lists", "structs", "maps"],
)
def test_the_bytes_of_all_values_are_counted_in_every_shape(
    column: pa.Array, unpacked: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # nothing is free here: the exact number passes, one byte less does not
    monkeypatch.setattr(expansion, "FREE_BYTES", 0)
    table = pa.table({"text": column})
    stream = io.BytesIO()
    pq.write_table(table, stream, **options)
    file = pq.ParquetFile(stream)
    coded = expansion._Dictionaries(stream, file)
    paths = [file.schema.column(at).path for at in range(len(file.schema.names))]
    total = sum(coded.total(0, path) for path in paths)
    # a null or empty list takes a place of its own in Parquet, not in Arrow
    assert unpacked <= total <= unpacked + 4 * 200
    checked(table, LimitsConfig(row_group=1 << 20, expansion=1e6), **options)
    with pytest.raises(CorpusError, match=r"limits\.row_group=90 allows"):
        checked(table, LimitsConfig(row_group=90, expansion=1e6), **options)


def test_the_limits_are_those_of_the_source(tmp_path: Path) -> None:
    texts = [f"text {i} " + "x" * 1000 for i in range(100)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": texts, "label": LABELS[:100]}), path, row_group_size=50)
    assert described(tmp_path, path, {}).rows == 100
    with pytest.raises(CorpusError, match=r"row group 0 unpacks to .* more than limits\.row_group=20,000 allows"):
        described(tmp_path, path, {}, limits={"row_group": 20_000})
    with pytest.raises(CorpusError, match=r"more than limits\.unpacked=70,000 allows") as caught:
        described(tmp_path, path, {}, limits={"unpacked": "70 kB"})
    assert "a.parquet" in caught.value.problem
    assert described(tmp_path, path, {}, limits={"row_group": "70 kB", "unpacked": "200 kB"}).rows == 100


def write_table(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path)


def write_disk(path: Path, table: pa.Table) -> None:
    import datasets

    datasets.Dataset(table).save_to_disk(str(path))


@pytest.mark.parametrize("write", [write_table, write_disk])
@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())],
    ids=["string", "large", "coded"],
)
def test_a_value_that_is_larger_than_the_limit_costs_its_row(write: Any, kind: pa.DataType, tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(40)]
    texts[3], texts[7], texts[9] = "x" * 101, "x" * 100, "é" * 51
    write(tmp_path / "a.parquet", pa.table({"text": pa.array(texts).cast(kind), "label": LABELS[:40]}))
    form = "datasets" if write is write_disk else "parquet"
    corpus = described(tmp_path, tmp_path / "a.parquet", {}, limits={"value": 100}, format=form, shard_rows=8)
    assert corpus.quarantine == {"value is larger than limits.value": 2}
    assert [row["row"] for row in quarantined(corpus)] == [3, 9]
    assert (corpus.rows, corpus.table().num_rows) == (38, 38)


def compressed(folder: Path, text: pa.Array) -> Path:
    """Replace the data of a `save_to_disk` folder by the same columns with compressed buffers."""
    write_disk(folder, pa.table({"text": ["a", "b"], "label": ["a", "b"]}))
    (path,) = folder.glob("*.arrow")
    table = pa.table({"text": text, "label": LABELS[: len(text)]})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("coded", [False, True], ids=["plain", "coded"])
def test_an_arrow_file_that_unpacks_to_more_than_the_limits_is_refused(coded: bool, tmp_path: Path) -> None:
    text = pa.array(["x" * 10_000] * 600)
    path = compressed(tmp_path / "disk", text.dictionary_encode() if coded else text)
    limits = {"row_group": 8_000 if coded else 1_000_000}
    with pytest.raises(CorpusError, match=r"record batch \d unpacks to .* more than limits\.row_group") as caught:
        described(tmp_path, tmp_path / "disk", {}, limits=limits)
    assert path.name in caught.value.problem
    if not coded:
        with pytest.raises(CorpusError, match=r"more than limits\.unpacked=1,000,000 allows"):
            described(tmp_path, tmp_path / "disk", {}, limits={"unpacked": 1_000_000})
    assert described(tmp_path, tmp_path / "disk", {}).rows == 600


def test_the_unpacked_size_of_a_message_is_that_of_its_buffers() -> None:
    batch = pa.record_batch({"text": ["abc", "de", None] * 400, "n": list(range(1200))})
    for options in (pa.ipc.IpcWriteOptions(), *(pa.ipc.IpcWriteOptions(compression=c) for c in ("zstd", "lz4"))):
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
            writer.write_batch(batch)
        _, records = pa.ipc.MessageReader.open_stream(sink.getvalue())
        found = unpacked_size(memoryview(records.metadata), memoryview(records.body))
        # alignment takes up to 64 bytes a buffer
        assert batch.nbytes <= found <= batch.nbytes + 64 * 5
        with pytest.raises((ValueError, struct.error)):
            unpacked_size(memoryview(b"\xff" * 40), memoryview(records.body))


def test_values_of_views_are_measured_too() -> None:
    views = pa.array(["ab", None, "abc", "a long text, out of line"], pa.string_view())
    assert longer_than(views, 2).tolist() == [False, False, True, True]
    assert longer_than(pa.array([1, 2]), 0).tolist() == [False, False]


def test_a_footer_that_lies_is_caught_while_the_rows_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x" * 1000] * 2000, "label": LABELS[:2000]}), path)
    monkeypatch.setattr("raysample.data.readers.columnar.check_expansion", lambda *_: None)
    monkeypatch.setattr(expansion, "FREE_BYTES", 1 << 20)
    with pytest.raises(CorpusError, match=r"more than limits\.expansion=2\.0 allows"):
        described(tmp_path, path, {}, limits={"expansion": 2}, shard_rows=100)


def test_the_size_of_a_dictionary_is_read_from_the_header_of_its_page() -> None:
    stream = io.BytesIO()
    pq.write_table(pa.table({"text": repeated(["abc", "de"], 10)}), stream, compression="zstd")
    raw = stream.getvalue()
    assert dictionary_size(raw[4:36]) == 3 + 2 + 2 * 4
    for header in (b"", b"\x15", b"\x15\x04", b"\x15\x04\x15", b"\x15\x00\x15\x1a", b"\x18\x04", b"\xff" * 32):
        assert dictionary_size(header) in (None, 0)


def test_pages_outside_the_file_and_counts_that_differ_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", "b"] * 500, "label": LABELS[:1000]}), path)
    raw = path.read_bytes()
    start = raw.rindex(b"PAR1", 0, 10)
    path.write_bytes(raw[: start + 4] + raw[start + 80 :])
    with pytest.raises(CorpusError, match=r"a\.parquet"):
        described(tmp_path, path, {})
    assert Parquet().fields  # the reader's own limits are the defaults
