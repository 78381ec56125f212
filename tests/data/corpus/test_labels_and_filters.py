"""Class names and their order; where, limit, hold-out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysample.core.errors import CorpusError
from tests.helpers.labelled_files import (
    described,
    quarantined,
    rows_of,
    write_csv,
    write_datasets,
    write_jsonl,
    write_parquet,
)

pytestmark = pytest.mark.slow

NAMES = ["entailment", "neutral", "contradiction"]


def labelled(path: Path, labels: list[Any], **extra: Any) -> Path:
    rows = [{"text": f"text {i}", "label": label, **extra} for i, label in enumerate(labels)]
    return write_jsonl(path, rows)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["b", "a", "c"], ("a", "b", "c")),
        ([10, 9, 2], ("2", "9", "10")),
        (["10", "9", "2"], ("2", "9", "10")),
        ([1.0, 0.0, 1], ("0", "1")),
        (["10", "b", 2], ("10", "2", "b")),
        ([True, False], ("false", "true")),
        ([" a ", "a", "b"], ("a", "b")),
        ([-2, 3], ("-2", "3")),
    ],
)
def test_classes_are_named_and_ordered(labels: list[Any], expected: tuple[str, ...], tmp_path: Path) -> None:
    corpus = described(tmp_path, labelled(tmp_path / "rows.jsonl", labels), {}, max_quarantined=1)
    assert corpus.labels == expected
    assert sum(corpus.class_counts) == len(labels)


def test_a_table_holds_the_place_of_each_label(tmp_path: Path) -> None:
    corpus = described(tmp_path, labelled(tmp_path / "rows.jsonl", ["b", "a", "b"]), {})
    assert corpus.table()["label"].to_pylist() == [1, 0, 1]
    assert corpus.table()["label"].type == pa.int32()


def class_label_parquet(path: Path, labels: list[int | None]) -> Path:
    features = {"label": {"names": NAMES, "_type": "ClassLabel"}, "text": {"dtype": "string", "_type": "Value"}}
    table = pa.table({"text": [f"text {i}" for i in range(len(labels))], "label": pa.array(labels, pa.int64())})
    meta = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(meta), path)
    return path


def test_class_label_names_are_kept_in_their_order(tmp_path: Path) -> None:
    path = class_label_parquet(tmp_path / "rows.parquet", [2, 0, 1, -1, 7, None, 0])
    corpus = described(tmp_path, path, {}, max_quarantined=1, shard_rows=2)
    assert corpus.labels == tuple(NAMES)
    assert corpus.class_counts == (2, 1, 1)
    assert [corpus.labels[i] for i in corpus.table()["label"].to_pylist()] == [NAMES[i] for i in (2, 0, 1, 0)]
    assert corpus.quarantine == {
        "label is -1, taken for no label (labels.missing)": 1,
        "label is not among the ClassLabel names": 1,
        "label is missing": 1,
    }


def test_where_understands_class_label_names_and_numbers(tmp_path: Path) -> None:
    path = class_label_parquet(tmp_path / "rows.parquet", [2, 0, 1, 0, 2])
    by_name = described(tmp_path, path, {}, where={"label": "entailment"}, labels=NAMES)
    assert by_name.rows == described(tmp_path, path, {}, where={"label": 0}, labels=NAMES).rows == 2


def test_datasets_features_give_the_same_names(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=NAMES)})
    data = datasets.Dataset.from_dict({"text": ["a", "b", "c", "d"], "label": [2, 0, 1, -1]}, features=features)
    data.save_to_disk(str(tmp_path / "disk"))
    data.to_parquet(str(tmp_path / "rows.parquet"))
    for path in (tmp_path / "disk", tmp_path / "rows.parquet"):
        corpus = described(tmp_path, path, {}, max_quarantined=1)
        assert corpus.labels == tuple(NAMES)
        assert corpus.table()["label"].to_pylist() == [2, 0, 1]
        assert corpus.quarantine == {"label is -1, taken for no label (labels.missing)": 1}


def test_given_labels_fix_names_and_order(tmp_path: Path) -> None:
    path = labelled(tmp_path / "rows.jsonl", ["b", "a", "b"])
    corpus = described(tmp_path, path, {}, labels=["z", "b", "a"])
    assert corpus.labels == ("z", "b", "a")
    assert corpus.class_counts == (0, 2, 1)
    assert corpus.table()["label"].to_pylist() == [1, 2, 1]


def test_a_label_that_training_lacks_is_an_error_by_default(tmp_path: Path) -> None:
    path = labelled(tmp_path / "rows.jsonl", ["a", "new", "b", "newer", "new"])
    with pytest.raises(CorpusError, match=r"'new' \(2 rows\), 'newer' \(1 rows\)") as caught:
        described(tmp_path, path, {}, labels=["a", "b"])
    assert "corpus.test.unseen_labels=quarantine" in caught.value.advice


def test_a_label_that_training_lacks_can_be_set_aside(tmp_path: Path) -> None:
    path = labelled(tmp_path / "rows.jsonl", ["a", "new", "new", "newer", "new"])
    corpus = described(tmp_path, path, {}, labels=["a", "b"], unseen_labels="quarantine")
    assert corpus.quarantine == {"label is unknown to training": 4}
    assert {row["row_id"] for row in quarantined(corpus)} == {f"rows.jsonl:{i}" for i in range(1, 5)}
    assert corpus.rows == 1


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({"n": 3}, 1),
        ({"n": "3"}, 1),
        ({"odd": True}, 10),
        ({"half": 1.5}, 1),
        ({"half": 2}, 1),
        ({"split": "x", "odd": False}, 10),
        ({"maybe": "yes"}, 5),
    ],
)
def test_where_compares_across_types(where: dict[str, Any], kept: int, tmp_path: Path) -> None:
    rows = [
        {"text": f"t{i}", "label": i % 2, "n": i, "odd": i % 2 == 1, "half": i / 2, "split": "x", "maybe": maybe}
        for i, maybe in enumerate([None, "yes", "no", "yes"] * 5)
    ]
    rows = [{**row, "maybe": row["maybe"] if row["n"] < 10 else None} for row in rows]
    for name, write in (("rows.parquet", write_parquet), ("rows.jsonl", write_jsonl), ("rows.csv", write_csv)):
        if where == {"half": 2} and name == "rows.csv":
            continue  # the cell says "2.0", and strings are compared as they are written
        corpus = described(tmp_path, write(tmp_path / name, rows), {}, where=where, labels=["0", "1"])
        assert corpus.counts == {"in": 20, "usable": kept, "quarantined": 0, "filtered": 20 - kept}


def test_filtered_rows_are_not_quarantined(tmp_path: Path) -> None:
    rows = [{"text": "" if i % 2 else f"t{i}", "label": i % 4, "split": "ab"[i % 2]} for i in range(12)]
    corpus = described(tmp_path, write_jsonl(tmp_path / "rows.jsonl", rows), {}, where={"split": "a"})
    assert corpus.counts == {"in": 12, "usable": 6, "quarantined": 0, "filtered": 6}


def test_sparse_rows_share_shards(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "label": i // 10 % 2, "keep": i % 10 == 0} for i in range(200)]
    path = write_parquet(tmp_path / "rows.parquet", rows)
    corpus = described(tmp_path, path, {}, where={"keep": True}, shard_rows=5)
    assert [shard.rows for shard in corpus.shards] == [5, 5, 5, 5]
    assert corpus.table()["text"].to_pylist() == [f"t{i}" for i in range(0, 200, 10)]


def test_limit_takes_the_same_rows_whatever_the_order(tmp_path: Path) -> None:
    rows = rows_of(200)
    write_parquet(tmp_path / "a.parquet", rows)
    twenty = described(tmp_path, tmp_path / "a.parquet", limit=20).table()["row_id"].to_pylist()
    fifty = described(tmp_path, tmp_path / "a.parquet", limit=50)
    assert set(twenty) < set(fifty.table()["row_id"].to_pylist())
    assert fifty.counts == {"in": 200, "usable": 50, "quarantined": 0, "filtered": 150}
    turned = described(tmp_path, write_csv(tmp_path / "b.csv", rows[::-1]), limit=50, shard_rows=7)
    assert turned.fingerprint == fifty.fingerprint
    assert described(tmp_path, tmp_path / "a.parquet", limit=999).rows == 200


def test_limit_does_not_make_quarantine_look_large(tmp_path: Path) -> None:
    rows = [*rows_of(100), *({"id": f"x{i}", "text": "", "label": "class 0"} for i in range(5))]
    corpus = described(tmp_path, write_jsonl(tmp_path / "rows.jsonl", rows), {"id": "id"}, limit=10)
    assert corpus.counts == {"in": 105, "usable": 10, "quarantined": 5, "filtered": 90}


def test_groups_and_times_are_strings_and_empty_is_null(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": 0, "g": 1, "t": 1.5}, {"text": "b", "label": 1, "g": None, "t": None}]
    columns = {"group": "g", "timestamp": "t"}
    for name, write in (("a.parquet", write_parquet), ("b.csv", write_csv), ("c", write_datasets)):
        table = described(tmp_path, write(tmp_path / name, rows), columns).table()
        assert table["group"].to_pylist() == ["1", None]
        assert table["timestamp"].to_pylist() == ["1.5", None]
