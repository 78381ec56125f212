"""Texts that lie in training and in the test are found by content alone."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysample.core import storage
from raysample.core.config import SourceConfig
from raysample.core.map_fn import threads
from raysample.data.corpus import Corpus, describe_source
from raysample.data.corpus import overlap as overlaps

pytestmark = pytest.mark.slow


def described(folder: Path, texts: list[str], pairs: list[str] | None = None, labels: str = "ab") -> Corpus:
    folder.mkdir()
    columns = {"text": texts, "label": [labels[i % 2] for i in range(len(texts))]}
    if pairs is not None:
        columns["text_pair"] = pairs
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    names = {"text_pair": "text_pair"} if pairs is not None else {}
    source = SourceConfig.model_validate({"path": str(folder / "rows.parquet"), "columns": names})
    return describe_source(source, str(folder / "corpus"), shard_rows=3)


def test_texts_in_both_are_counted_on_either_side(tmp_path: Path) -> None:
    train = described(tmp_path / "train", ["one", "two", "two", "three", "four", "five", "Six", "seven"])
    test = described(tmp_path / "test", ["two", "five", "five", "six", "eight"], labels="ba")
    found = overlaps.overlap([train], test, threads)
    assert (found.known_rows, found.test_rows) == (3, 3)
    assert "3 of 5 test rows (60.0%)" in overlaps.describe_overlap(found, test.rows)


def test_pairs_are_compared_as_pairs(tmp_path: Path) -> None:
    train = described(tmp_path / "train", ["a b", "a", "c"], ["c", "b c", "d"])
    test = described(tmp_path / "test", ["a", "a", "c"], ["b c", "b", "d"])
    found = overlaps.overlap([train], test, threads)
    assert (found.known_rows, found.test_rows) == (2, 2)


def test_nothing_in_common(tmp_path: Path) -> None:
    train = described(tmp_path / "train", ["one", "two", "three"])
    test = described(tmp_path / "test", ["four", "five"])
    assert overlaps.overlap([train], test, threads).test_rows == 0
    assert overlaps.stored_overlap(str(tmp_path / "none.json"), [train], test) is None


def test_near_texts_are_counted_beside_equal_ones_and_validation_counts_too(tmp_path: Path) -> None:
    train = described(tmp_path / "train", ["Play it now", "call 12 people", "stop", "go on"])
    chooses = described(tmp_path / "validation", ["wake me up", "lights off"])
    test = described(tmp_path / "test", ["Play it now", "play it, NOW!", "call 7 people", "Wake me up.", "call people"])
    alone, both = (overlaps.overlap(known, test, threads) for known in ([train], [train, chooses]))
    assert (alone.known_rows, alone.test_rows, alone.near_test_rows) == (1, 1, 3)
    assert (both.known_rows, both.test_rows, both.near_test_rows) == (1, 1, 4)
    assert "(1 rows there), and 3 more nearly that of one" in overlaps.describe_overlap(both, test.rows)
    path = str(tmp_path / "overlap.json")
    storage.write_json(path, both.to_dict())
    assert overlaps.stored_overlap(path, [train, chooses], test) == both
    assert overlaps.stored_overlap(path, [train], test) is None
