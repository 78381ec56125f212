"""What raysample wrote and reads again: every damage is an error that names the file, and what to do."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raysample.core import manifests, storage
from raysample.core.config import ArmConfig, SourceConfig, parse
from raysample.core.errors import RaysampleError, StorageError
from raysample.core.statistics.files import read_statistics
from raysample.data.checkpoint_set import COMPLETE, CheckpointSet, verify_checkpoint
from raysample.data.corpus import Corpus, describe_source
from raysample.data.corpus.overlap import Overlap
from raysample.data.log import ranges
from raysample.data.score_table import ScoreTable, table_schema
from raysample.evaluation.comparison import Comparison
from raysample.influence.capture.read import CaptureReader
from raysample.influence.shards.crash_counter import deaths
from raysample.selection import Selection, write_selection
from raysample.testing import tiny_checkpoints, tiny_corpus_files
from raysample.training.fine_tuning.completion import read_outcome
from raysample.workflow import RunFolder

BAD: dict[str, tuple[bytes, str]] = {
    "list": (b"[]", "a mapping, and holds a list of 0"),
    "null": (b"null", "a mapping, and holds None"),
    "number": (b"7", "a mapping, and holds 7"),
    "empty": (b"", "is not valid JSON"),
    "cut": (b'{"noun": "Cor', "is not valid JSON"),
    "latin-1": (b'{"noun": "caf\xe9"}', "is not UTF-8: byte 0xe9 at position 13"),
    "deep": (b"[" * 100_000 + b"]" * 100_000, "it nests without end"),
    "NaN": (b'{"noun": NaN}', "NaN is no number of JSON"),
    "endless": (b'{"noun": 1e999}', "has no bound"),
    "digits": (b'{"noun": ' + b"9" * 5000 + b"}", "is larger than any that is written"),
    "nothing in it": (b"{}", "lack|Field required"),
}


@pytest.fixture(scope="module")
def nouns(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Callable[[str], object]]]:
    """Return a folder of each noun, its manifest, and what reads it."""
    home = tmp_path_factory.mktemp("nouns")
    source = SourceConfig.model_validate({"path": tiny_corpus_files(home / "rows", rows=12), "columns": {"id": "id"}})
    describe_source(source, str(home / "corpus"))
    tiny_checkpoints(home / "checkpoints", n=1)
    columns = {
        "row_id": ["a", "b", "c", "d"],
        "label": [0, 1, 0, 1],
        "tokens": [3, 4, 5, 6],
        "el2n": [0.1, 0.2, 0.3, 0.4],
    }
    storage.write_parquet(str(home / "scores" / "parts" / "part-0.parquet"), pa.table(columns, table_schema(("el2n",))))
    scores = {"el2n": {"score": "el2n", "higher_is": "harder"}}
    counts = {"in": 4, "scored": 4, "quarantined": 0}
    table = ScoreTable(str(home / "scores"), ("parts/part-0.parquet",), scores, ("x", "y"), "c", "k", counts, {}).save()
    write_selection(table, ArmConfig(policy="hard", score="el2n"), str(home / "selection"), fraction=0.5)
    return {
        "corpus": (home / "corpus" / "corpus.json", Corpus.load),
        "checkpoints": (home / "checkpoints" / "checkpoints.json", CheckpointSet.load),
        "scores": (home / "scores" / "scores.json", ScoreTable.load),
        "selection": (home / "selection" / "selection.json", Selection.load),
    }


@pytest.mark.parametrize("damage", BAD)
@pytest.mark.parametrize("noun", ["corpus", "checkpoints", "scores", "selection"])
def test_a_damaged_manifest_is_named(noun: str, damage: str, nouns: dict[str, Any]) -> None:
    path, load = nouns[noun]
    before = path.read_bytes()
    data, expected = BAD[damage]
    try:
        path.write_bytes(data)
        with pytest.raises(StorageError, match=expected) as caught:
            load(str(path.parent))
    finally:
        path.write_bytes(before)
    assert path.name in caught.value.problem
    assert "run the step" in caught.value.advice
    load(str(path.parent))


@pytest.mark.parametrize(
    ("noun", "key", "value"),
    [
        ("corpus", "labels", None),
        ("corpus", "labels", "abc"),
        ("corpus", "shards", [{"index": 0}]),
        ("corpus", "shards", []),
        ("corpus", "counts", {"in": "many"}),
        ("corpus", "class_counts", []),
        ("corpus", "source", {"path": 5}),
        ("checkpoints", "checkpoints", {}),
        ("checkpoints", "checkpoints", [{"uri": 5}]),
        ("checkpoints", "config", []),
        ("checkpoints", "labels", [1, 2]),
        ("scores", "parts", [None]),
        ("scores", "scores", {"el2n": {}}),
        ("scores", "counts", []),
        ("scores", "grouped", "perhaps"),
        ("selection", "arm", []),
        ("selection", "counts", {"in": None}),
        ("selection", "thresholds", "x"),
        ("selection", "fingerprint", 3),
    ],
)
def test_a_value_of_another_type_is_named_with_its_file(
    noun: str, key: str, value: object, nouns: dict[str, Any]
) -> None:
    path, load = nouns[noun]
    before = path.read_bytes()
    try:
        path.write_text(json.dumps({**json.loads(before), key: value}))
        with pytest.raises(RaysampleError) as caught:
            load(str(path.parent))
    finally:
        path.write_bytes(before)
    assert str(path) in str(caught.value) or str(path.parent) in str(caught.value)


@pytest.mark.parametrize("what", ["folder", "pipe", "loop", "nowhere"])
def test_what_is_no_file_is_named_and_never_waited_for(what: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if what == "loop" else tmp_path / "gone")
    with pytest.raises(StorageError, match=r"scores\.json"):
        ScoreTable.load(str(tmp_path))
    with pytest.raises(StorageError, match=r"scores\.json"):
        storage.read_parquet(str(path))


def test_damaged_parts_are_named(nouns: dict[str, Any], tmp_path: Path) -> None:
    table = ScoreTable.load(str(nouns["scores"][0].parent))
    part = Path(table.uri, table.parts[0])
    whole = part.read_bytes()
    other = tmp_path / "other.parquet"
    storage.write_parquet(str(other), pa.table({"row_id": ["a"]}))
    for data in (
        b"",
        whole[: len(whole) // 2],
        whole[:60] + b"\xff" * 40 + whole[100:],
        other.read_bytes(),
        b"PAR1PAR1",
    ):
        try:
            part.write_bytes(data)
            with pytest.raises(StorageError, match=r"part-0\.parquet"):
                table.to_arrow()
        finally:
            part.write_bytes(whole)


def _damaged_parquet(path: Path) -> Iterator[None]:
    """Damage a Parquet file in one way after the other: its footer, the length of its footer, its end, all of it."""
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little")
    for data in (
        whole[: -8 - footer] + b"\xff" * footer + whole[-8:],
        whole[:-8] + b"\xff\xff\xff\x7f" + whole[-4:],
        whole[: len(whole) // 2],
        b"",
    ):
        path.write_bytes(data)
        yield
    path.unlink()
    yield


def test_parquet_files_that_are_read_in_part_are_named(tmp_path: Path) -> None:
    rows = pa.table({"row_id": ["a"], "id": ["00ff"], "label": [0], "place": [0], "logits": [[0.5, 0.5]]})
    path = tmp_path / "rows.parquet"
    reader = CaptureReader.__new__(CaptureReader)  # without the index of a capture, which this file is not part of
    reader._spans = {}
    for read in (
        lambda: ranges.read_id_range(str(path), 0, 1),
        lambda: reader._groups(str(path), np.array([0])),
        lambda: storage.read_parquet(str(path)),
        lambda: read_statistics(str(path)),
    ):
        storage.write_parquet(str(path), rows)
        for _ in _damaged_parquet(path):
            with pytest.raises(StorageError, match=r"rows\.parquet"):
                read()


def test_errors_of_the_operating_system_tell_nothing_about_the_content() -> None:
    with pytest.raises(StorageError, match="does not hold what was written"), manifests.damaged("a.parquet"):
        raise OSError("Couldn't deserialize thrift")
    with pytest.raises(PermissionError), manifests.damaged("a.parquet"):
        raise PermissionError(errno.EACCES, "no right to read", "a.parquet")


def test_seals_outcomes_and_other_files_of_a_run_are_named(tmp_path: Path) -> None:
    config = parse({"output": str(tmp_path), "name": "r"})
    space = RunFolder.from_config(config)
    space.claim(config)
    trace = tiny_checkpoints(tmp_path / "trace", n=1)
    seal = Path(trace.checkpoints[0].uri, COMPLETE)
    readers: dict[Path, Callable[[], object]] = {
        Path(space.at("run.json")): lambda: space.check(config),
        Path(space.comparison): lambda: Comparison.load(space.comparison),
        tmp_path / "outcome.json": lambda: read_outcome(str(tmp_path / "outcome.json"), str(tmp_path / "none")),
        tmp_path / "overlap.json": lambda: manifests.kind_of(Overlap, str(tmp_path / "overlap.json")),
        seal: lambda: verify_checkpoint(str(seal.parent)),
    }
    for path, read in readers.items():
        for data in (b"[]", b"{}", b"null", b"{", b"\xff", b'{"identity": 5, "sha256": [], "runs": 3, "metrics": []}'):
            path.write_bytes(data)
            if path.name == "run.json" and b"identity" in data:
                continue  # it differs from the configuration, and that is what is said
            with pytest.raises(StorageError, match=path.name.replace(".", "[.]")) as caught:
                read()
            assert caught.value.advice


def test_counts_of_crashes_must_be_counts(tmp_path: Path) -> None:
    folder = str(tmp_path)
    found = describe_source(SourceConfig(path=tiny_corpus_files(tmp_path / "rows", rows=12)), str(tmp_path / "corpus"))
    marker = tmp_path / "attempts" / f"{found.shards[0].name}.json"
    marker.parent.mkdir()
    for text in (
        '{"attempts": -1, "scoring": 0}',
        '{"attempts": "3", "scoring": 0}',
        '{"attempts": true, "scoring": 0}',
        '{"attempts": 1, "scoring": null}',
        '{"attempts": 1}',
        "[]",
    ):
        marker.write_text(text)
        with pytest.raises(StorageError, match="attempts"):
            deaths(folder, found.shards[0])
    marker.write_text('{"attempts": 2, "scoring": 1}')
    assert (deaths(folder, found.shards[0]).workers, deaths(folder, found.shards[0]).scoring) == (2, 1)


@pytest.mark.parametrize("what", ["pipe", "folder"])
def test_no_hash_is_taken_of_what_is_no_file(what: str, tmp_path: Path) -> None:
    place = tmp_path / "weights"
    os.mkfifo(place) if what == "pipe" else place.mkdir()
    with pytest.raises(StorageError, match="weights' was expected to be a file"):
        storage.sha256(str(place))


def test_a_manifest_with_half_a_character_has_an_identity_of_its_own() -> None:
    assert len({storage.fingerprint(text) for text in ("\ud800", "\ud801", "a")}) == 3


def test_other_columns_in_a_part_of_a_selection_are_named(nouns: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "selection"
    shutil.copytree(nouns["selection"][0].parent, folder)
    chosen = Selection.load(str(folder))
    for path in folder.rglob("part-*.parquet"):
        storage.write_parquet(str(path), pa.table({"row_id": ["a"], "\0eight": [1.0]}))
    for read in (chosen.to_arrow, chosen.kept, chosen.kept_ids):
        with pytest.raises(StorageError, match=r"part-.*\.parquet"):
            read()
