"""Writes the same labelled rows in every format that a corpus is read from."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysample.core import storage
from raysample.core.config import SourceConfig
from raysample.data.corpus import Corpus, describe_source

Row = dict[str, Any]


def rows_of(count: int, classes: int = 3) -> list[Row]:
    """Make rows with ids, texts (some with commas, quotes, line breaks, other scripts), labels, groups and days."""
    signs = ["plain", 'a "quoted", word', "two\nlines", "日本語 ü", " spaced "]
    return [
        {
            "id": f"r{i}",
            "text": f"{signs[i % len(signs)]} {i}",
            "label": f"class {i % classes}",
            "group": f"g{i % 2}",
            "day": f"2024-01-{1 + i % 9:02d}",
        }
        for i in range(count)
    ]


def write_parquet(path: Path, rows: list[Row], **options: Any) -> Path:
    """Write one Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def write_jsonl(path: Path, rows: list[Row]) -> Path:
    """Write one JSON object per line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path: Path, rows: list[Row]) -> Path:
    """Write CSV with a header."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_datasets(path: Path, rows: list[Row]) -> Path:
    """Write a folder with `save_to_disk`."""
    import datasets

    datasets.Dataset.from_list(rows).save_to_disk(str(path))
    return path


WRITERS: dict[str, tuple[str, Callable[[Path, list[Row]], Path]]] = {
    "parquet": ("rows.parquet", write_parquet),
    "jsonl": ("rows.jsonl", write_jsonl),
    "csv": ("rows.csv", write_csv),
    "datasets": ("rows_on_disk", write_datasets),
}

COLUMNS = {"id": "id", "group": "group", "timestamp": "day"}


def source(path: Path | str, columns: dict[str, str] | None = None, **options: Any) -> SourceConfig:
    """Return a source config with the columns of `rows_of`; `rule`: its `labels`, as `labels` are class names here."""
    if "rule" in options:
        options["labels"] = options.pop("rule")
    return SourceConfig(path=str(path), columns=COLUMNS if columns is None else columns, **options)


def described(folder: Path, path: Path | str, columns: dict[str, str] | None = None, **options: Any) -> Corpus:
    """Describe a source into `folder/corpus`."""
    own = ("labels", "shard_rows", "part", "holdout", "validation")
    mine = {key: options.pop(key) for key in own if key in options}
    return describe_source(source(path, columns, **options), str(folder / "corpus"), **mine)


def quarantined(corpus: Corpus) -> list[Row]:
    """Return the rows of a quarantine."""
    files = storage.list_files(storage.join(corpus.uri, "quarantine"))
    return [row for file in files for row in storage.read_parquet(file).to_pylist()]


def read_back(corpus: Corpus) -> list[Row]:
    """Return the usable rows with their class names, by row id."""
    rows = corpus.table().to_pylist()
    return sorted(({**row, "label": corpus.labels[row["label"]]} for row in rows), key=lambda row: row["row_id"])
