"""Score tables of one column and three classes of different sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raysample.core import storage
from raysample.data.score_table import ScoreTable, table_schema

SIZES = (500, 0, 377)


def score_table(folder: Path, sizes: tuple[int, ...] = SIZES, layout: str = "a", values: Any = None) -> ScoreTable:
    rng = np.random.default_rng(0)
    n, start, parts = sum(sizes), 0, []
    labels = rng.permutation(np.repeat(np.arange(3), (600, 200, n - 800)))
    vog = rng.lognormal(labels, 1, n).astype(np.float32) if values is None else np.asarray(values, np.float32)
    for number, size in enumerate(sizes):
        rows = range(start, start + size)
        columns = [[f"id-{i}" for i in rows], labels[start : start + size], [7] * size, vog[start : start + size]]
        whole = pa.table(
            [pa.array(c, f.type) for c, f in zip(columns, table_schema(("vog",)), strict=True)],
            schema=table_schema(("vog",)),
        )
        storage.write_parquet(f"{folder}/{layout}/part-{number}.parquet", whole)
        parts.append(f"{layout}/part-{number}.parquet")
        start += size
    counts = {"in": n + 5, "scored": n, "quarantined": 5}
    scores = {"vog": {"score": "vog", "higher_is": "harder"}}
    return ScoreTable(str(folder), tuple(parts), scores, ("x", "y", "z"), "corpus-fp", "trace-fp", counts, {}).save()
