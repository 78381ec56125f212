"""Whatever is wrong with a Parquet file or a datasets folder is an error that names it, or costs single rows."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysample.core.errors import CorpusError, ProvenanceError, RaysampleError
from raysample.data.readers.arrow_validity import check_arrays
from raysample.data.readers.class_label_metadata import class_labels
from raysample.data.readers.dataset_folders import check_dataset_folder
from tests.helpers.labelled_files import described, quarantined, rows_of, write_datasets, write_parquet

pytestmark = pytest.mark.slow

TEXTS = [f"text {i}" for i in range(40)]
LABELS = ["ab"[i % 2] for i in range(40)]


def refused(folder: Path, path: Path, *words: str, **options: Any) -> RaysampleError:
    """Describe a source that must be refused by an error of ours which names the file and these words."""
    with pytest.raises(CorpusError) as caught:
        described(folder, path, {}, **options)
    for word in (path.name, *words):
        assert word in caught.value.problem
    assert caught.value.advice
    return caught.value


def whole() -> pa.Table:
    return pa.table({"text": TEXTS, "label": LABELS})


def damaged_page(path: Path) -> None:
    pq.write_table(whole(), path, compression="zstd")
    raw = bytearray(path.read_bytes())
    raw[60:260] = b"\xff" * 200
    path.write_bytes(raw)


def damaged_page_of_plain_text(path: Path) -> None:
    pq.write_table(whole(), path, compression="none", use_dictionary=False)
    raw = bytearray(path.read_bytes())
    raw[4:30] = b"\xff" * 26
    path.write_bytes(raw)


def cut_short(path: Path) -> None:
    pq.write_table(whole(), path)
    path.write_bytes(path.read_bytes()[:-30])


def without_its_middle(path: Path) -> None:
    pq.write_table(whole(), path)
    raw = path.read_bytes()
    path.write_bytes(raw[:40] + raw[400:])


def empty_file(path: Path) -> None:
    path.write_bytes(b"")


def other_magic(path: Path) -> None:
    pq.write_table(whole(), path)
    path.write_bytes(b"PARX" + path.read_bytes()[4:-4] + b"PARX")


def text_file(path: Path) -> None:
    path.write_text("text,label\n" + "a,b\n" * 20)


def dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("gone"))


def column_twice(path: Path) -> None:
    pq.write_table(pa.table([TEXTS, LABELS, TEXTS], names=["text", "label", "text"]), path)


def unknown_zone(path: Path) -> None:
    days = [datetime.datetime(2024, 1, 1 + i % 2) for i in range(40)]
    pq.write_table(pa.table({"text": TEXTS, "label": pa.array(days, pa.timestamp("us", tz="Mars/Phobos"))}), path)


FILES: dict[Callable[[Path], None], str] = {
    damaged_page: "cannot be read",
    damaged_page_of_plain_text: "cannot be read",
    cut_short: "cannot be read",
    without_its_middle: "cannot be read",
    empty_file: "cannot be read",
    other_magic: "cannot be read",
    text_file: "cannot be read",
    dangling_link: "nothing",
    column_twice: "'text' twice",
    unknown_zone: "Mars/Phobos",
}


@pytest.mark.parametrize(("spoil", "word"), FILES.items(), ids=lambda given: getattr(given, "__name__", ""))
def test_a_damaged_parquet_file_is_named_alone_and_beside_a_good_one(
    spoil: Callable[[Path], None], word: str, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(whole(), tmp_path / "in" / "a.parquet")
    spoil(tmp_path / "in" / "b.parquet")
    refused(tmp_path, tmp_path / "in" / "b.parquet", word)
    with pytest.raises(CorpusError, match=r"b\.parquet"):
        described(tmp_path, tmp_path / "in", {})


METADATA = {
    "a list": b"[1,2]",
    "no JSON": b"{",
    "no UTF-8": b"\xff\xfe",
    "info is a number": b'{"info": 3}',
    "features are a list": b'{"info": {"features": [1]}}',
    "names are a string": b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": "ab"}}}}',
    "a name is a number": b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", 1]}}}}',
    "a name stands twice": b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", "a"]}}}}',
    "deeper than any": b"[" * 100_000,
}


@pytest.mark.parametrize("raw", METADATA.values(), ids=METADATA)
def test_damaged_huggingface_metadata_is_named(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"text": TEXTS, "label": [i % 2 for i in range(40)]}).replace_schema_metadata({b"huggingface": raw}),
        path,
    )
    assert "replace_schema_metadata" in refused(tmp_path, path, "`huggingface` metadata").advice


@pytest.mark.parametrize(
    "raw", [b"{}", b'{"info": null}', b'{"info": {"features": null}}', b'{"info": {"features": {"label": [1]}}}']
)
def test_metadata_that_names_no_class_is_fine(raw: bytes) -> None:
    assert class_labels({b"huggingface": raw}, "a.parquet") == {}


def test_bytes_that_are_no_utf8_in_a_page_cost_their_rows_only(tmp_path: Path) -> None:
    raw = [text.encode() for text in TEXTS]
    raw[3], raw[17] = b"\xff\xfe", b"half \xe2\x82"
    table = pa.table({"text": pa.array(raw, pa.binary()).view(pa.string()), "label": LABELS})
    pq.write_table(table, tmp_path / "a.parquet")
    corpus = described(tmp_path, tmp_path / "a.parquet", {})
    assert (corpus.rows, corpus.quarantine) == (38, {"text is not valid UTF-8": 2})
    assert sorted(row["row"] for row in quarantined(corpus)) == [3, 17]


ODD = {
    "null": pa.nulls(40),
    "list": pa.array([["a"]] * 40),
    "struct": pa.array([{"a": "b"}] * 40),
    "map": pa.array([[("a", "b")]] * 40, pa.map_(pa.string(), pa.string())),
    "binary": pa.array([b"a"] * 40),
    "list of bytes that are no UTF-8": pa.ListArray.from_arrays(
        pa.array(range(41), pa.int32()), pa.array([b"\xff"] * 40).view(pa.string())
    ),
}


@pytest.mark.parametrize("array", ODD.values(), ids=ODD)
def test_a_column_of_a_type_that_is_no_text_sets_every_row_aside(array: pa.Array, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": array, "label": LABELS}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match=r"40 of 40 rows of .*a\.parquet"):
        described(tmp_path, tmp_path / "a.parquet", {})


def test_labels_may_be_decimals_and_dates(tmp_path: Path) -> None:
    for name, values, expected in (
        ("decimal", pa.array([Decimal(i % 2) for i in range(40)], pa.decimal128(5, 2)), ("0", "1")),
        ("date", pa.array([datetime.date(2024, 1, 1 + i % 2) for i in range(40)]), ("2024-01-01", "2024-01-02")),
        ("zone", pa.array([i % 2 for i in range(40)], pa.timestamp("s", tz="UTC")), None),
    ):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"text": TEXTS, "label": values}), path)
        corpus = described(tmp_path, path, {})
        assert corpus.rows == 40
        assert len(corpus.labels) == 2
        assert expected is None or corpus.labels == expected


def test_parts_with_other_schemas_are_read_by_name_or_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(whole(), folder / "a.parquet")
    odd = pa.table({"more": pa.array([{"x": 1}] * 40), "label": pa.array(LABELS).dictionary_encode(), "text": TEXTS})
    pq.write_table(odd, folder / "b.parquet")
    assert described(tmp_path, folder, {}).rows == 80
    pq.write_table(whole().rename_columns(["words", "label"]), folder / "c.parquet")
    with pytest.raises(CorpusError, match=r"c\.parquet' has no column 'text'; it has words, label"):
        described(tmp_path, folder, {})


def test_a_file_without_any_column_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(whole(), folder / "a.parquet")
    pq.write_table(whole().slice(0, 0), folder / "b.parquet")
    corpus = described(tmp_path, folder, {})
    assert (corpus.rows, corpus.inventory["files"]["read"]) == (40, 2)
    pq.write_table(whole().select([]), folder / "c.parquet")
    with pytest.raises(CorpusError, match=r"c\.parquet' has no column 'text'; it has none"):
        described(tmp_path, folder, {})


def test_a_struct_with_a_field_twice_is_no_matter_beside_the_columns(tmp_path: Path) -> None:
    twice = pa.StructArray.from_arrays([pa.array(TEXTS), pa.array(TEXTS)], names=["x", "x"])
    pq.write_table(pa.table({"text": TEXTS, "label": LABELS, "more": twice}), tmp_path / "a.parquet")
    assert described(tmp_path, tmp_path / "a.parquet", {}).rows == 40
    pq.write_table(pa.table({"text": twice, "label": LABELS}), tmp_path / "b.parquet")
    with pytest.raises(CorpusError, match=r"b\.parquet"):
        described(tmp_path, tmp_path / "b.parquet", {})


def test_a_file_that_is_damaged_later_is_noticed_by_name(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", rows_of(40))
    for spoil in (damaged_page, cut_short, empty_file, text_file):
        corpus = described(tmp_path, write_parquet(path, rows_of(40)))
        spoil(path)
        with pytest.raises(ProvenanceError, match=r"a\.parquet"):
            corpus.read(0)


def test_arrays_whose_parts_lead_out_of_memory_are_refused() -> None:
    outside = pa.DictionaryArray.from_arrays(pa.array([0, 7]), pa.array(["a"]), safe=False)
    below = pa.DictionaryArray.from_arrays(pa.array([0, -1], pa.int8()), pa.array(["a"]), safe=False)
    offsets = pa.array([0, 90, 2], pa.int32()).buffers()[1]
    long = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"ab")])
    falling = pa.Array.from_buffers(
        pa.large_string(), 3, [None, pa.array([0, 2, 1, 2], pa.int64()).buffers()[1], pa.py_buffer(b"ab")]
    )
    nested = pa.Array.from_buffers(pa.list_(pa.int8()), 2, [None, offsets], children=[pa.array([1, 2], pa.int8())])
    for array in (outside, below, long, falling, nested):
        with pytest.raises((pa.ArrowInvalid, ValueError)):
            check_arrays([array])
    check_arrays([pa.array([b"\xff"]).view(pa.string()), pa.array(["a", None]).dictionary_encode(), pa.array([1])])


def arrow_file(folder: Path) -> Path:
    (found,) = folder.glob("*.arrow")
    return found


def replaced_by_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replaced_by_zeroes(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def state(folder: Path, **changes: Any) -> None:
    path = folder / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def cut_arrow(folder: Path) -> None:
    path = arrow_file(folder)
    path.write_bytes(path.read_bytes()[:200])


def garbled_arrow(folder: Path) -> None:
    path = arrow_file(folder)
    raw = bytearray(path.read_bytes())
    raw[8:120] = b"\xff" * 112
    path.write_bytes(raw)


def one_of_three(folder: Path) -> None:
    arrow_file(folder).rename(folder / "data-00001-of-00003.arrow")
    state(folder, _data_files=[{"filename": "data-00001-of-00003.arrow"}])


FOLDERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "the data is a pipe": (lambda folder: replaced_by_a_pipe(arrow_file(folder)), "a pipe, socket or device"),
    "the state is a pipe": (lambda folder: replaced_by_a_pipe(folder / "state.json"), "a pipe, socket or device"),
    "the info is a pipe": (lambda folder: replaced_by_a_pipe(folder / "dataset_info.json"), "pipe, socket or device"),
    "the data has no end": (lambda folder: replaced_by_zeroes(arrow_file(folder)), "a pipe, socket or device"),
    "the state leads out": (
        lambda folder: state(folder, _data_files=[{"filename": "../../../dev/zero"}]),
        "does not lie in it",
    ),
    "the state is a list": (lambda folder: (folder / "state.json").write_text("[]") and None, "no _data_files"),
    "the state names nothing": (lambda folder: state(folder, _data_files=[{}]), "no filename"),
    "the state names a file twice": (
        lambda folder: state(folder, _data_files=[{"filename": arrow_file(folder).name}] * 2),
        "twice",
    ),
    "the state lacks one of several": (one_of_three, "data-00000-of-00003.arrow, one of 3"),
    "the data is gone": (lambda folder: arrow_file(folder).unlink(), "cannot be read"),
    "the data is empty": (lambda folder: arrow_file(folder).write_bytes(b"") and None, "cannot be read"),
    "the data is cut": (cut_arrow, "cannot be read"),
    "the data is garbled": (garbled_arrow, "cannot be read"),
    "the info is no JSON": (lambda folder: (folder / "dataset_info.json").write_text("{") and None, "cannot be read"),
    "the info is a list": (lambda folder: (folder / "dataset_info.json").write_text("[]") and None, "cannot be read"),
    "the folder is empty": (lambda folder: [path.unlink() for path in folder.iterdir()] and None, "disk"),
}


@pytest.mark.parametrize(("spoil", "word"), FOLDERS.values(), ids=FOLDERS)
def test_a_damaged_datasets_folder_is_named_and_never_waited_for(
    spoil: Callable[[Path], None], word: str, tmp_path: Path
) -> None:
    folder = write_datasets(tmp_path / "disk", rows_of(40))
    spoil(folder)
    refused(tmp_path, folder, word, format="datasets")


def test_a_split_is_looked_into_through_a_link(tmp_path: Path) -> None:
    import datasets

    data = datasets.Dataset.from_list(rows_of(40))
    datasets.DatasetDict({"train": data}).save_to_disk(str(tmp_path / "disk"))
    (tmp_path / "disk" / "train").rename(tmp_path / "elsewhere")
    (tmp_path / "disk" / "train").symlink_to(tmp_path / "elsewhere")
    check_dataset_folder(str(tmp_path / "disk"))
    replaced_by_a_pipe(arrow_file(tmp_path / "elsewhere"))
    with pytest.raises(ValueError, match="pipe"):
        check_dataset_folder(str(tmp_path / "disk"))
