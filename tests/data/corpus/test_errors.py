"""Every way in which a source cannot be used says what to do, and a changed source is noticed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from raysample.core.errors import CorpusError, ProvenanceError
from raysample.data.corpus import Corpus
from raysample.data.readers import columnar
from tests.helpers.labelled_files import described, rows_of, write_csv, write_datasets, write_jsonl, write_parquet

pytestmark = pytest.mark.slow

ROWS = rows_of(30)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is written hub:NAME"):
        described(tmp_path, tmp_path / "nothing")


def test_a_missing_column_lists_those_that_are_there(tmp_path: Path) -> None:
    for name, write in (("a.parquet", write_parquet), ("a.jsonl", write_jsonl), ("a.csv", write_csv)):
        path = write(tmp_path / name, ROWS)
        with pytest.raises(CorpusError, match="no column 'intent'; it has id, text, label, group, day"):
            described(tmp_path, path, {"label": "intent"})
        with pytest.raises(CorpusError, match="name the right column"):
            described(tmp_path, path, where={"lang": "en"})
    with pytest.raises(CorpusError, match="no column 'intent'"):
        described(tmp_path, write_datasets(tmp_path / "disk", ROWS), {"text": "intent"})


def test_a_folder_of_two_formats_or_none(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.md").write_text("nothing")
    with pytest.raises(CorpusError, match="no format known by its suffix"):
        described(tmp_path, tmp_path / "in")
    write_csv(tmp_path / "in" / "a.csv", ROWS)
    write_jsonl(tmp_path / "in" / "b.jsonl", ROWS)
    with pytest.raises(CorpusError, match="holds csv and jsonl files"):
        described(tmp_path, tmp_path / "in")
    assert described(tmp_path, tmp_path / "in", format="csv").rows == 30
    with pytest.raises(CorpusError, match="holds no parquet file"):
        described(tmp_path, tmp_path / "in", format="parquet")


def test_an_explicit_format_reads_any_suffix(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.txt", ROWS)
    assert described(tmp_path, path, format="jsonl").rows == 30


def test_a_split_of_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"where: \{split: train\}"):
        described(tmp_path, write_csv(tmp_path / "a.csv", ROWS), split="train")


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", ROWS)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorpusError, match="leave it out of the folder"):
        described(tmp_path, path)


def test_a_csv_header_with_a_repeated_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label,text\na,b,c\n")
    with pytest.raises(CorpusError, match="give every column a name of its own"):
        described(tmp_path, tmp_path / "a.csv", {})


def test_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "state.json").write_text("{}")
    with pytest.raises(CorpusError, match=r"write it again with Dataset\.save_to_disk"):
        described(tmp_path, tmp_path / "disk")


def test_too_many_bad_rows_name_the_top_reasons(tmp_path: Path) -> None:
    bad = [{**row, "id": f"b{i}", "text": "" if i < 3 else None} for i, row in enumerate(ROWS[:5])]
    path = write_jsonl(tmp_path / "a.jsonl", [*ROWS, *bad])
    with pytest.raises(CorpusError, match=r"5 of 35 rows .*text is empty: 3; text is missing: 2") as caught:
        described(tmp_path, path)
    assert "raise max_quarantined" in caught.value.advice
    assert not (tmp_path / "corpus" / "corpus.json").exists()
    assert (tmp_path / "corpus" / "quarantine" / "part-00000.parquet").exists()
    assert described(tmp_path, path, max_quarantined=0.15).rows == 30


def test_no_row_and_no_usable_row(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.csv"):
        (tmp_path / name).write_text("")
        with pytest.raises(CorpusError, match="has no row at all"):
            described(tmp_path, tmp_path / name)
    with pytest.raises(CorpusError, match="30 filtered out"):
        described(tmp_path, write_csv(tmp_path / "b.csv", ROWS), where={"group": "none"})


def test_a_single_class(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", rows_of(9, classes=1))
    with pytest.raises(CorpusError, match="a classifier needs two classes"):
        described(tmp_path, path)
    assert described(tmp_path, path, labels=["class 0", "class 1"]).class_counts == (9, 0)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"part": "train"}, "give holdout a share"),
        ({"part": "holdout", "validation": 0.1}, "give holdout a share"),
        ({"part": "validation", "holdout": 0.1}, "or validation, or both"),
        ({"shard_rows": 0}, "give shard_rows at least 1"),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], advice: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=advice):
        described(tmp_path, write_csv(tmp_path / "a.csv", ROWS), **options)


def test_a_hub_name_offline_names_the_alternative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    with pytest.raises(CorpusError, match="'stanfordnlp/snli' cannot be loaded here") as caught:
        described(tmp_path, "hub:stanfordnlp/snli", {}, split="train")
    assert "save_to_disk(FOLDER)" in caught.value.advice


def test_a_hub_name_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # `load_dataset` treats a local folder as it treats a repository of the hub
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    columnar._from_hub.cache_clear()
    write_parquet(tmp_path / "repo" / "data" / "train-00000.parquet", ROWS)
    corpus = described(tmp_path, f"hub:{tmp_path / 'repo'}", split="train", shard_rows=8)
    assert corpus.source.format == "hub"
    assert corpus.table()["text"].to_pylist() == [row["text"] for row in ROWS]
    assert Corpus.load(corpus.uri).read(1).equals(corpus.read(1))


WRITERS = {"parquet": write_parquet, "jsonl": write_jsonl, "csv": write_csv}


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_a_source_that_changed_is_noticed(form: str, tmp_path: Path) -> None:
    path = WRITERS[form](tmp_path / f"rows.{form}", ROWS)
    corpus = described(tmp_path, path, shard_rows=10)
    assert corpus.read(2).num_rows == 10
    WRITERS[form](path, [*ROWS[:25], {**ROWS[25], "label": "class 0"}, *ROWS[26:]])
    assert corpus.read(0).num_rows == 10
    with pytest.raises(ProvenanceError, match="restore the source, or describe it again"):
        corpus.read(2)
    WRITERS[form](path, ROWS[:25])
    with pytest.raises(ProvenanceError, match="changed since"):
        corpus.read(2)
    path.unlink()
    with pytest.raises(ProvenanceError, match="can no longer be read"):
        corpus.read(0)


def test_a_datasets_folder_that_changed_is_noticed(tmp_path: Path) -> None:
    corpus = described(tmp_path, write_datasets(tmp_path / "disk", ROWS), shard_rows=10)
    shutil.rmtree(tmp_path / "disk")
    write_datasets(tmp_path / "disk", [*ROWS[:29], {**ROWS[29], "text": "other"}])
    assert corpus.read(1).num_rows == 10
    with pytest.raises(ProvenanceError, match="restore the source"):
        corpus.read(2)


def test_a_corpus_folder_that_was_described_anew_is_noticed(tmp_path: Path) -> None:
    bad = [{**row, "id": f"b{i}", "label": None if i % 2 else "class 1"} for i, row in enumerate(ROWS)]
    path = write_jsonl(tmp_path / "rows.jsonl", [*ROWS, *bad])
    old = described(tmp_path, path, shard_rows=5, max_quarantined=1)
    described(tmp_path, path, shard_rows=40, max_quarantined=1)
    with pytest.raises(ProvenanceError, match="can no longer be read"):
        old.read(len(old.shards) - 1)
