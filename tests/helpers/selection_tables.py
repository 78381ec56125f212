"""Score tables of one column and three classes of different sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raysample.data.score_table import ScoreTable, table_schema
from raysample.influence.scores import SCORES

SIZES = (500, 0, 377)


def save_score_table(
    folder: Path,
    pieces: Iterable[Mapping[str, Any]],
    labels: Sequence[str],
    *,
    score: str = "score",
    parts: str = "parts",
    grouped: bool = False,
    quarantined: int = 0,
) -> ScoreTable:
    """Save a score table of one score column, a file for each piece.

    Args:
        folder: of the table.
        pieces: columns of the parts, by name; more than the schema has are left out.
        labels: class names.
        score: name of the score column.
        parts: folder of the parts, below that of the table.
        grouped: whether the rows have groups.
        quarantined: rows beside those of the pieces.
    """
    schema, names, rows = table_schema((score,), grouped=grouped), list[str](), 0
    for number, columns in enumerate(pieces):
        piece = pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names}, schema)
        names.append(f"{parts}/part-{number:05d}.parquet")
        (folder / parts).mkdir(parents=True, exist_ok=True)
        pq.write_table(piece, folder / names[-1], row_group_size=1 << 18)
        rows += piece.num_rows
    counts = {"in": rows + quarantined, "scored": rows, "quarantined": quarantined}
    scores = {score: {"score": score if score in SCORES else "el2n", "higher_is": "harder"}}
    made = ScoreTable(str(folder), tuple(names), scores, tuple(labels), "corpus-fp", "trace-fp", counts, {})
    return replace(made, grouped=grouped).save()


def score_table(folder: Path, sizes: tuple[int, ...] = SIZES, layout: str = "a", values: Any = None) -> ScoreTable:
    """Save a table of the score `vog` in parts of these sizes; `values` are those of the score."""
    rng = np.random.default_rng(0)
    n = sum(sizes)
    labels = rng.permutation(np.repeat(np.arange(3), (600, 200, n - 800)))
    vog = rng.lognormal(labels, 1, n).astype(np.float32) if values is None else np.asarray(values, np.float32)
    ends = np.cumsum(sizes)
    pieces = [
        {
            "row_id": [f"id-{i}" for i in range(end - size, end)],
            "label": labels[end - size : end],
            "tokens": [7] * size,
            "vog": vog[end - size : end],
        }
        for end, size in zip(ends, sizes, strict=True)
    ]
    return save_score_table(folder, pieces, ("x", "y", "z"), score="vog", parts=layout, quarantined=5)
