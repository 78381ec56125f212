"""Folders of tiny models, and small corpora in memory to prepare a model for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from raysample import models
from raysample.data.corpus import CORPUS_SCHEMA
from raysample.testing import Family, tiny_model, tiny_rows, tiny_tokenizer


class Shelf:
    """Shards in memory, read as a Corpus is."""

    def __init__(self, *tables: pa.Table) -> None:
        self.tables = tables
        self.shards = [SimpleNamespace(index=i, rows=len(table)) for i, table in enumerate(tables)]

    def read(self, index: int) -> pa.Table:
        return self.tables[index]


def shelf() -> Any:
    return Shelf(tiny_rows(150, seed=0), tiny_rows(150, seed=1))


def saved(folder: Path, family: Family = "bert", **options: Any) -> str:
    models.save_model(tiny_model(family, **options), tiny_tokenizer(family), folder)
    return str(folder)


def texts_table(texts: list[str], pairs: list[str | None] | None = None) -> pa.Table:
    nothing = [None] * len(texts)
    columns = {"row_id": [str(i) for i in range(len(texts))], "text": texts, "text_pair": pairs or nothing}
    return pa.table(
        {**columns, "label": [0] * len(texts), "group": nothing, "timestamp": nothing}, schema=CORPUS_SCHEMA
    )
