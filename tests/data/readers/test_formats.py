"""Every format gives the same rows, shards and fingerprint."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysample.core.errors import CorpusError, StorageError
from raysample.data.corpus import CORPUS_SCHEMA, Corpus
from raysample.data.readers import columnar
from raysample.data.schema import Part
from tests.helpers.labelled_files import (
    COLUMNS,
    WRITERS,
    described,
    read_back,
    rows_of,
    write_csv,
    write_jsonl,
    write_parquet,
)

pytestmark = pytest.mark.slow

ROWS = rows_of(57)
EXPECTED = sorted(
    (
        {
            "row_id": row["id"],
            "text": row["text"],
            "text_pair": None,
            "label": row["label"],
            "group": row["group"],
            "timestamp": row["day"],
        }
        for row in ROWS
    ),
    key=lambda row: row["row_id"],
)


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_every_format_gives_the_same_rows(form: str, tmp_path: Path) -> None:
    name, write = WRITERS[form]
    corpus = described(tmp_path, write(tmp_path / name, ROWS), shard_rows=10)
    assert corpus.source.format == form
    assert read_back(corpus) == EXPECTED
    assert corpus.table().schema == CORPUS_SCHEMA
    assert [shard.rows for shard in corpus.shards] == [10, 10, 10, 10, 10, 7]
    assert [(shard.start, shard.stop) for shard in corpus.shards[:2]] == [(0, 10), (10, 20)]
    assert corpus.counts == {"in": 57, "usable": 57, "quarantined": 0, "filtered": 0}
    assert corpus.labels == ("class 0", "class 1", "class 2")
    assert corpus.class_counts == (19, 19, 19)


def test_the_fingerprint_depends_on_neither_format_nor_layout_nor_order(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, ROWS) for name, write in WRITERS.values()]
    for index in range(3):
        write_parquet(tmp_path / "many" / f"{index}.parquet", ROWS[::-1][index::3], row_group_size=4)
    marks = {described(tmp_path, path, shard_rows=9).fingerprint for path in [*paths, tmp_path / "many"]}
    assert len(marks) == 1
    changed = [{**ROWS[0], "text": "another"}, *ROWS[1:]]
    assert described(tmp_path, write_jsonl(tmp_path / "changed.jsonl", changed)).fingerprint not in marks


def test_a_corpus_loads_pickles_and_reads_the_same(tmp_path: Path) -> None:
    corpus = described(tmp_path, write_csv(tmp_path / "rows.csv", ROWS), shard_rows=8)
    assert Corpus.load(corpus.uri) == corpus
    assert pickle.loads(pickle.dumps(corpus)).read(3).equals(corpus.read(3))
    assert corpus.rows == 57


def test_a_folder_without_a_corpus_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="run the step that writes it first"):
        Corpus.load(str(tmp_path))


def test_partition_folders_become_columns(tmp_path: Path) -> None:
    for day in ("2024-01-01", "2024-01-02"):
        rows = [{key: row[key] for key in ("id", "text", "label")} for row in ROWS if row["id"][-1] in "12" + day[-1]]
        unique = [{**row, "id": f"{day}-{row['id']}"} for row in rows]
        write_parquet(tmp_path / "days" / f"date={day}" / "part=a%20b" / "x.parquet", unique)
    columns = {"id": "id", "timestamp": "date", "group": "part"}
    corpus = described(tmp_path, tmp_path / "days", columns)
    assert set(corpus.table()["timestamp"].to_pylist()) == {"2024-01-01", "2024-01-02"}
    assert set(corpus.table()["group"].to_pylist()) == {"a b"}
    one = described(tmp_path, tmp_path / "days", columns, where={"date": "2024-01-02"})
    assert set(one.table()["timestamp"].to_pylist()) == {"2024-01-02"}
    assert one.rows + one.counts["filtered"] == corpus.rows


def test_one_partition_of_a_larger_whole_keeps_its_columns(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "all" / "date=2024-01-02" / "hour=__HIVE_DEFAULT_PARTITION__" / "x.parquet", ROWS)
    columns = {"id": "id", "timestamp": "date", "group": "hour"}
    for place in (path, path.parent, path.parent.parent):
        table = described(tmp_path, place, columns, shard_rows=20).table()
        assert set(table["timestamp"].to_pylist()) == {"2024-01-02"}
        assert set(table["group"].to_pylist()) == {None}


def test_rows_without_an_id_column_are_named_by_file_and_position(tmp_path: Path) -> None:
    write_parquet(tmp_path / "in" / "a=1" / "x.parquet", ROWS[:3])
    write_parquet(tmp_path / "in" / "y.parquet", ROWS[3:5])
    corpus = described(tmp_path, tmp_path / "in", {}, shard_rows=2)
    ids = corpus.table()["row_id"].to_pylist()
    assert ids == ["a=1/x.parquet:0", "a=1/x.parquet:1", "a=1/x.parquet:2", "y.parquet:0", "y.parquet:1"]


def test_a_single_row_group_is_cut_and_read_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = described(tmp_path, write_parquet(tmp_path / "rows.parquet", ROWS), shard_rows=5)
    expected = [corpus.read(index) for index in range(len(corpus.shards))]
    monkeypatch.setattr(columnar, "HELD_BYTES", 0)
    for index in reversed(range(len(corpus.shards))):
        assert corpus.read(index).equals(expected[index])


@pytest.mark.parametrize("group", [1, 3, 7, 100])
def test_parquet_ranges_cross_row_groups(group: int, tmp_path: Path) -> None:
    part = Part(str(write_parquet(tmp_path / "rows.parquet", ROWS, row_group_size=group)), "rows.parquet")
    reader = columnar.Parquet()
    assert sum(batch.rows for batch in reader.batches(part, ["id"], 10)) == 57
    found = reader.range(part, ["id"], 5, 23, 0)
    assert found is not None
    assert found.columns["id"].to_pylist() == [row["id"] for row in ROWS[5:23]]
    assert reader.range(part, ["id"], 57, 60, 0) is None


def test_packed_and_tab_separated_files(tmp_path: Path) -> None:
    lines = write_jsonl(tmp_path / "rows.jsonl", ROWS).read_bytes()
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + lines.replace(b"\n{", b"\n\n{")))
    text = "".join(f"{row['id']}\tt{row['id']}\t{row['label']}\n" for row in ROWS)
    (tmp_path / "rows.tsv").write_bytes(("\ufeffid\ttext\tlabel\n" + text).encode())
    assert read_back(described(tmp_path, tmp_path / "rows.jsonl.gz", shard_rows=10)) == EXPECTED
    assert described(tmp_path, tmp_path / "rows.tsv", {"id": "id"}, shard_rows=10).table().num_rows == 57


def test_a_datasets_dict_needs_a_split(tmp_path: Path) -> None:
    import datasets

    data = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": data, "dev": data.select(range(5))}).save_to_disk(str(tmp_path / "both"))
    with pytest.raises(CorpusError, match="there are train, dev"):
        described(tmp_path, tmp_path / "both")
    with pytest.raises(CorpusError, match="no split 'test'"):
        described(tmp_path, tmp_path / "both", split="test")
    corpus = described(tmp_path, tmp_path / "both", {}, split="dev")
    assert corpus.table()["row_id"].to_pylist() == [f"dev:{i}" for i in range(5)]


def test_a_shuffled_datasets_folder_is_read_in_its_own_order(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_list(ROWS).shuffle(seed=1).save_to_disk(str(tmp_path / "data"), num_shards=3)
    assert read_back(described(tmp_path, tmp_path / "data", shard_rows=7)) == EXPECTED


def test_text_pairs_are_read(tmp_path: Path) -> None:
    rows = [{"a": f"premise {i}", "b": f"claim {i}", "y": i % 2} for i in range(6)]
    columns = {"text": "a", "text_pair": "b", "label": "y"}
    corpus = described(tmp_path, write_parquet(tmp_path / "pairs.parquet", rows), columns)
    assert corpus.table()["text_pair"].to_pylist() == [row["b"] for row in rows]
    assert corpus.labels == ("0", "1")


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()])
def test_all_arrow_string_types_are_strings(kind: pa.DataType, tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    for name in ("text", "label", "id"):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    pq.write_table(table, tmp_path / "rows.parquet")
    assert read_back(described(tmp_path, tmp_path / "rows.parquet", COLUMNS)) == EXPECTED


def test_the_manifest_is_plain_json(tmp_path: Path) -> None:
    corpus = described(tmp_path, write_jsonl(tmp_path / "rows.jsonl", ROWS))
    data = json.loads((Path(corpus.uri) / "corpus.json").read_text())
    assert data["noun"] == "Corpus"
    assert data["counts"] == corpus.counts
