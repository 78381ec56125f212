"""Small described corpora."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raysample.core.config import Columns, SourceConfig
from raysample.data.corpus import Corpus, describe_source
from raysample.testing import LABELS, tiny_corpus_files


def tiny_corpus(
    folder: Path,
    rows: int,
    seed: int = 0,
    *,
    files: int = 2,
    labels: Sequence[str] | None = LABELS,
    shard_rows: int = 2048,
    **source: Any,
) -> Corpus:
    """Write rows with the labels of the tiny models into `folder`/files, and describe them in `folder`/corpus."""
    path = tiny_corpus_files(folder / "files", rows, seed, files=files)
    described = SourceConfig(path=path, columns=Columns(id="id"), **source)
    return describe_source(described, str(folder / "corpus"), labels=labels, shard_rows=shard_rows)


def varied_corpus(folder: Path, rows: int, seed: int = 0, *, shard_rows: int = 2048, classes: int = 4) -> Corpus:
    """Describe texts of 4 to 49 made-up words, all different, one Parquet file for every 16 shards."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, int(rng.integers(3, 10)))) for _ in range(3_000)]
    texts = [" ".join(words[i] for i in rng.integers(0, len(words), rng.integers(4, 50))) for _ in range(rows)]
    labels = [f"class {i}" for i in (*range(classes), *rng.integers(0, classes, rows - classes))]
    table = pa.table({"id": [f"{seed}-{i}" for i in range(rows)], "text": texts, "label": labels})
    path = folder / "source"
    path.mkdir(parents=True)
    for i, start in enumerate(range(0, rows, 16 * shard_rows)):
        pq.write_table(table.slice(start, 16 * shard_rows), path / f"part-{i:05d}.parquet")
    described = SourceConfig(path=str(path), columns=Columns(id="id"))
    return describe_source(described, str(folder / "corpus"), shard_rows=shard_rows)
