"""Writes small files of lines, spoiled where a test says so, and describes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from raysample.core.config import SourceConfig
from raysample.core.errors import CorpusError
from raysample.data.corpus import Corpus, describe_source

Row = dict[str, str]


def rows_of(count: int) -> list[Row]:
    """Return rows with ids, texts of two words and one of two labels."""
    return [{"id": f"r{i}", "text": f"text {i}", "label": "ab"[i % 2]} for i in range(count)]


def jsonl(rows: list[Any]) -> bytes:
    """Return one line of JSON per row."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def separated(rows: list[Row], texts: Mapping[int, str] | None = None, sign: str = ",", end: str = "\n") -> bytes:
    """Return rows under a header, without any quoting; `texts` are raw fields in place of some."""
    fields = [[row["id"], (texts or {}).get(i, row["text"]), row["label"]] for i, row in enumerate(rows)]
    return "".join(sign.join(line) + end for line in [["id", "text", "label"], *fields]).encode()


def read(folder: Path, name: str, content: bytes, **options: Any) -> Corpus:
    """Write a file and describe it, however many of its rows are set aside."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    options = {"columns": {"id": "id"}, "max_quarantined": 1, **options}
    corpus = describe_source(SourceConfig(path=str(path), **options), str(folder / "corpus"), shard_rows=7)
    assert corpus.counts["usable"] + corpus.counts["quarantined"] == corpus.counts["in"]
    return corpus


def refused(folder: Path, name: str, content: bytes, match: str, **options: Any) -> CorpusError:
    """Describe a file that must be refused with its name; return the error."""
    with pytest.raises(CorpusError, match=match) as caught:
        read(folder, name, content, **options)
    assert name in caught.value.problem
    return caught.value


def texts_of(corpus: Corpus) -> dict[str, str]:
    """Return the usable rows' texts by id, as a worker reads them: shard by shard from the byte of each."""
    table = corpus.table()
    return dict(zip(table["row_id"].to_pylist(), table["text"].to_pylist(), strict=True))
