"""A manifest names the files of its rows: a list without files, or files with other rows, is never read as no row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import raysample
from raysample.core import storage
from raysample.core.errors import StorageError
from raysample.data.corpus import Corpus
from raysample.data.log import Contents
from raysample.data.row_sampling import sample_corpus
from raysample.data.score_table import ScoreTable
from raysample.selection import Selection
from raysample.testing import tiny_checkpoints, tiny_corpus_files
from raysample.training.capture.files import CAPTURE_FOLDER, Capture

ROWS = 30


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one corpus, score table, selection and capture, and the contents of a log."""
    home = tmp_path_factory.mktemp("written")
    source = tiny_corpus_files(home / "rows", rows=ROWS, files=3)
    corpus = raysample.describe(source, str(home / "corpus"), columns={"id": "id"})
    table = raysample.score(tiny_checkpoints(home / "run", n=1), corpus, ["el2n"], str(home / "scores"))
    raysample.sample(table, "hard", "el2n", fraction=0.5, output=str(home / "selection"))
    raysample.compact(source, str(home / "contents"))
    hashes = {f"epoch-{epoch:03d}/rank-00.parquet": "0" * 64 for epoch in (1, 2)}
    capture = {"noun": "Capture", "rows": ROWS, "classes": 3, "epochs": 2, "steps_per_epoch": 4, "sha256": hashes}
    storage.write_json(str(home / "capture" / CAPTURE_FOLDER / "capture.json"), capture)
    return home


def _changed(manifest: Path, **values: Any) -> str:
    """Write other values into a manifest; return its folder."""
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **values}))
    return str(manifest.parent)


@pytest.mark.parametrize(
    ("name", "empty", "load"),
    [
        ("scores/scores.json", {"parts": []}, ScoreTable.load),
        ("selection/selection.json", {"parts": []}, Selection.load),
        ("contents/contents.json", {"parts": []}, Contents.load),
        ("capture/capture/capture.json", {"sha256": {}}, lambda uri: Capture.load(str(Path(uri).parent))),
        ("capture/capture/capture.json", {"epochs": 3}, lambda uri: Capture.load(str(Path(uri).parent))),
    ],
)
def test_a_manifest_that_names_no_file_is_refused(
    name: str, empty: dict[str, Any], load: Callable[[str], object], written: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(written, tmp_path / "copy"))
    load(str((copy / name).parent))
    with pytest.raises(StorageError, match=f"{Path(name).name}' .*names no") as caught:
        load(_changed(copy / name, **empty))
    assert "run the step" in caught.value.advice


@pytest.mark.parametrize("name", ["scores/scores.json", "selection/selection.json"])
@pytest.mark.parametrize("change", ["first gone", "last gone", "one twice", "one for another"])
def test_files_with_other_rows_than_the_manifest_counts_are_refused(
    name: str, change: str, written: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(written, tmp_path / "copy"))
    parts = json.loads((copy / name).read_text())["parts"]
    assert len(parts) == 3
    changed = {
        "first gone": parts[1:],
        "last gone": parts[:-1],
        "one twice": [*parts, parts[0]],
        "one for another": [parts[0], parts[0], parts[2]],
    }[change]
    load = ScoreTable.load if name.startswith("scores") else Selection.load
    problem = f"{Path(name).name}' names .*hold {ROWS - 10} rows, and it counts {ROWS}|names a file twice"
    with pytest.raises(StorageError, match=problem):
        load(_changed(copy / name, parts=changed)).to_arrow()


def test_kept_rows_are_counted_when_they_are_read_alone(written: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(written / "selection", tmp_path / "copy"))
    chosen = Selection.load(str(copy))
    assert len(chosen.kept()) == len(chosen.kept_ids()) == ROWS // 2
    fewer = Selection.load(_changed(copy / "selection.json", parts=chosen.parts[:2]))
    for read in (fewer.kept, fewer.kept_ids, fewer.to_pandas):
        with pytest.raises(StorageError, match=r"selection\.json' names hold"):
            read()


def test_a_corpus_without_a_row_is_an_empty_table(written: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(written / "corpus", tmp_path / "copy"))
    counts = {"in": 0, "usable": 0, "quarantined": 0, "filtered": 0}
    place = _changed(copy / "corpus.json", shards=[], class_counts=[0, 0, 0], counts=counts)
    empty = Corpus.load(place)
    assert len(empty.table()) == len(sample_corpus(empty, 5, seed=0)) == 0
    assert empty.table().schema == Corpus.load(str(written / "corpus")).table().schema
    with pytest.raises(StorageError, match="counts of rows"):
        Corpus.load(_changed(copy / "corpus.json", counts={**counts, "usable": 30}))


def test_some_parts_alone_are_read_without_counting(written: Path) -> None:
    table = ScoreTable.load(str(written / "scores"))
    assert [len(part) for part in table.read(parts=table.parts[1:])] == [10, 10]
    assert len(next(table.read())) == 10
