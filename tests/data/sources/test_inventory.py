"""Every file below a source's path is read, refused by name, or listed as left out with its reason, and counted."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raysample.cli.tables import contents_table
from raysample.core.errors import CorpusError
from raysample.data.corpus import Corpus
from raysample.data.log import Contents, compact_log
from raysample.data.sources import inventory
from raysample.data.sources.inventory import Inventory
from raysample.data.sources.resolve import open_source
from raysample.workflow.checks import corpus_remarks
from raysample.workflow.tracker_params import _files as told_to_report
from tests.helpers.labelled_files import (
    COLUMNS,
    described,
    rows_of,
    source,
    write_csv,
    write_datasets,
    write_jsonl,
    write_parquet,
)

pytestmark = pytest.mark.slow

ROWS = rows_of(30)


def folder(path: Path, write: Callable[[Path, list[dict[str, Any]]], Path], suffix: str) -> Path:
    """Write two files of rows into a folder."""
    path.mkdir()
    write(path / f"a{suffix}", ROWS[:15])
    write(path / f"b{suffix}", ROWS[15:])
    return path


def names(corpus: Corpus | Contents) -> dict[str, list[str]]:
    return {reason: told["names"] for reason, told in corpus.inventory["left_out"].items()}


def socket_at(path: Path) -> None:
    # a socket's address may have 107 bytes at most
    there = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as found:
            found.bind(path.name)
    finally:
        os.chdir(there)


FORMATS = {"parquet": (write_parquet, ".parquet"), "jsonl": (write_jsonl, ".jsonl"), "csv": (write_csv, ".csv")}


@pytest.mark.parametrize("form", FORMATS)
def test_whatever_is_not_read_is_listed_with_its_reason_in_corpora_and_logs(form: str, tmp_path: Path) -> None:
    write, suffix = FORMATS[form]
    root = folder(tmp_path / "in", write, suffix)
    for name in ("_SUCCESS", ".a.crc", "notes.md", "LICENSE", f"more{suffix}.lz4", f"old{suffix}.zip", f"a{suffix}~"):
        (root / name).write_bytes(b"x")
    (root / "_temporary" / "0").mkdir(parents=True)
    write(root / "_temporary" / "0" / f"part{suffix}", ROWS[:3])
    (root / ".cache").mkdir()
    (root / ".cache" / f"x{suffix}").write_bytes(b"x")
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere" / f"c{suffix}", ROWS[:3])
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "queue")
    socket_at(root / "agent.sock")
    (root / "gone.txt").symlink_to(root / "nowhere.txt")
    (root / "empty").mkdir()
    expected = {
        inventory.HIDDEN: [".a.crc", f".cache/x{suffix}", "_SUCCESS", f"_temporary/0/part{suffix}"],
        "unknown suffix (.md)": ["notes.md"],
        "unknown suffix (none)": ["LICENSE"],
        f"unknown suffix ({suffix}~)": [f"a{suffix}~"],
        inventory.LINKED_FOLDER: ["linked", "loop"],
        inventory.SPECIAL: ["agent.sock", "queue"],
        inventory.NOWHERE: ["gone.txt"],
    }
    packed = " of parquet" if form == "parquet" else ""
    expected |= {
        f"{inventory.COMPRESSED} (.lz4{packed})": [f"more{suffix}.lz4"],
        f"{inventory.COMPRESSED} (.zip{packed})": [f"old{suffix}.zip"],
    }
    corpus = described(tmp_path, root)
    assert corpus.rows == 30
    assert names(corpus) == expected
    assert corpus.inventory["files"] == {"in": 16, "read": 2, "left_out": 14}
    assert Corpus.load(corpus.uri).inventory == corpus.inventory
    log = compact_log(source(root), str(tmp_path / "contents"))
    assert log.inventory == corpus.inventory
    assert Contents.load(log.uri).inventory == log.inventory


def test_a_file_of_another_format_is_listed(tmp_path: Path) -> None:
    root = folder(tmp_path / "in", write_csv, ".csv")
    write_jsonl(root / "c.jsonl", ROWS)
    write_jsonl(root / "meta.json", ROWS)
    write_parquet(root / "d.parquet", ROWS)
    found = names(described(tmp_path, root, format="csv"))
    assert found == {
        "jsonl file beside those read as csv": ["c.jsonl", "meta.json"],
        "parquet file beside those read as csv": ["d.parquet"],
    }
    (root / "d.parquet").unlink()
    assert names(described(tmp_path, root, format="jsonl")) == {
        "csv file beside those read as jsonl": ["a.csv", "b.csv"],
        inventory.JSON_BESIDE_DATA: ["meta.json"],
    }


def test_every_file_below_a_linked_path_is_read_and_links_to_files_are(tmp_path: Path) -> None:
    root = folder(tmp_path / "in", write_jsonl, ".jsonl")
    shutil.move(root / "b.jsonl", tmp_path / "blob")
    (root / "b.jsonl").symlink_to(tmp_path / "blob")
    (tmp_path / "link").symlink_to(root)
    corpus = described(tmp_path, tmp_path / "link")
    assert (corpus.rows, corpus.inventory) == (30, {"files": {"in": 2, "read": 2, "left_out": 0}, "left_out": {}})


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv", ".jsonl.gz"])
def test_what_would_be_read_and_cannot_be_is_refused_by_name(suffix: str, tmp_path: Path) -> None:
    plain = suffix.removesuffix(".gz")
    root = folder(tmp_path / "in", FORMATS[plain[1:]][0], plain)
    bad = root / f"c{suffix}"
    for make, word in (
        (lambda: bad.symlink_to(root / "nowhere"), "leads nowhere"),
        (lambda: bad.symlink_to(bad), "leads nowhere"),
        (lambda: os.mkfifo(bad), "pipe, socket or device"),
        (lambda: bad.symlink_to("/dev/zero"), "pipe, socket or device"),
        (lambda: socket_at(bad), "pipe, socket or device"),
    ):
        make()
        for call in (lambda: described(tmp_path, root), lambda: compact_log(source(root), str(tmp_path / "contents"))):
            with pytest.raises(CorpusError, match="leave it out of the folder") as caught:
                call()
            assert bad.name in caught.value.problem
            assert word in caught.value.problem
        bad.unlink()


def test_a_pipe_given_as_the_source_is_never_opened(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.parquet", "a"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(CorpusError, match="regular file"):
            described(tmp_path, tmp_path / name, format="jsonl")


def test_a_name_that_is_no_utf8_is_refused_or_listed(tmp_path: Path) -> None:
    root = folder(tmp_path / "in", write_jsonl, ".jsonl")
    Path(os.fsdecode(os.fsencode(root) + b"/odd-\xff.md")).write_text("x")
    (root / "bell\x07.md").write_text("x")
    corpus = described(tmp_path, root)
    assert names(corpus) == {"unknown suffix (.md)": ["bell\\x07.md", "odd-\\udcff.md"]}
    Path(os.fsdecode(os.fsencode(root) + b"/odd-\xff.jsonl")).write_text("x")
    with pytest.raises(CorpusError, match="rename it"):
        described(tmp_path, root)


def test_a_folder_of_nothing_that_is_read_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(CorpusError, match="no format known"):
        described(tmp_path, tmp_path / "in")
    (tmp_path / "in" / "_a.csv").write_text("text,label\na,b\n")
    with pytest.raises(CorpusError, match=r"holds no csv file .*1 of 1 files left out: name begins .*_a\.csv"):
        described(tmp_path, tmp_path / "in", format="csv")


def test_a_datasets_folder_lists_what_its_state_does_not(tmp_path: Path) -> None:
    import datasets

    disk = write_datasets(tmp_path / "disk", ROWS)
    (disk / "README.md").write_text("x")
    shutil.copy(next(disk.glob("data-*.arrow")), disk / "cache-1.arrow")
    corpus = described(tmp_path, disk)
    assert corpus.inventory["files"] == {"in": 5, "read": 3, "left_out": 2}
    assert names(corpus) == {inventory.UNLISTED: ["README.md", "cache-1.arrow"]}
    halves = {name: datasets.Dataset.from_list(ROWS[:20]) for name in ("train", "test")}
    datasets.DatasetDict(halves).save_to_disk(str(tmp_path / "both"))
    corpus = described(tmp_path, tmp_path / "both", split="test")
    assert corpus.inventory["files"] == {"in": 7, "read": 4, "left_out": 3}
    assert list(names(corpus)) == [inventory.OTHER_SPLIT]


def test_files_outside_the_window_are_left_out(tmp_path: Path) -> None:
    for day in ("1", "2", "3"):
        (tmp_path / "log" / f"day={day}").mkdir(parents=True)
        write_jsonl(tmp_path / "log" / f"day={day}" / "a.jsonl", ROWS)
    (tmp_path / "log" / "day=3" / "notes.txt").write_text("x")
    log = compact_log(source(tmp_path / "log"), str(tmp_path / "contents"), window=1)
    assert log.inventory["files"] == {"in": 4, "read": 1, "left_out": 3}
    assert names(log)[inventory.OUTSIDE] == ["day=1/a.jsonl", "day=2/a.jsonl"]


def test_all_are_counted_where_not_all_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "NAMED", 2)
    root = folder(tmp_path / "in", write_jsonl, ".jsonl")
    for place in range(5):
        (root / f"{place}.md").write_text("x")
    told = described(tmp_path, root).inventory["left_out"]
    assert told == {"unknown suffix (.md)": {"files": 5, "names": ["0.md", "1.md"]}}


def test_a_file_that_gets_lost_on_the_way_is_an_error(tmp_path: Path) -> None:
    root = folder(tmp_path / "in", write_jsonl, ".jsonl")
    found = open_source(source(root)).inventory
    assert found.checked(2, "in")["files"] == {"in": 2, "read": 2, "left_out": 0}
    for bad, read in ((found, 1), (replace(found, found=3), 2), (replace(found, left_out=(("x", "y"),)), 2)):
        with pytest.raises(CorpusError, match="do not use the corpus"):
            bad.checked(read, "in")
    assert Inventory(1, ("a",)).without([("a", "name")], "why").checked(0, "in")["left_out"] == {
        "why": {"files": 1, "names": ["name"]}
    }


def test_terminal_and_report_say_what_was_left_out(tmp_path: Path) -> None:
    root = folder(tmp_path / "in", write_jsonl, ".jsonl")
    for name in ("_a", "_b", "_c", "_d", "notes.md"):
        (root / name).write_text("x")
    corpus = replace(described(tmp_path, root), warnings=("two spellings",))
    assert corpus_remarks(corpus) == [
        "4 of 7 files left out: name begins with a dot or an underscore (_a, _b, _c, ...)",
        "1 of 7 files left out: unknown suffix (.md) (notes.md)",
        "two spellings",
    ]
    told = told_to_report(corpus)
    assert (told["in"], told["read"], told["left_out"]) == (7, 2, 5)
    assert told["left out because"]["unknown suffix (.md)"] == ["1 files", "notes.md"]
    assert told["warnings"] == ["two spellings"]
    assert told_to_report(replace(corpus, inventory={})) == {}
    log = compact_log(source(root, COLUMNS), str(tmp_path / "contents"))
    cells = [list(column.cells) for column in contents_table(log).columns]
    assert ("files left out", "4") in list(zip(cells[0], cells[1], strict=True))
