"""Rows of a made-up score table for tests of its statistics, and what makes two statistics the same."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from raysample.core.statistics import Statistics
from raysample.core.statistics.files import STATISTICS_SCHEMA, _lines

SCORES = ("vog", "forgetting", "aum")


def scored_rows(rows: int, classes: int = 5, groups: int | None = 7, seed: int = 0) -> pa.Table:
    """Return rows with a skewed score, one of whole numbers, one of both signs, and groups, some of which are null."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, rows) ** 2 // classes
    hard = rng.gamma(1 + label, 1.0)
    data = {
        "row_id": [f"row-{seed}-{i:07d}" for i in range(rows)],
        "label": label.astype(np.int32),
        "tokens": (3 + rng.poisson(4 + hard)).astype(np.int32),
        "vog": (hard**3 * 1e-4).astype(np.float32),
        "forgetting": rng.poisson(hard).astype(np.float32),
        "aum": rng.normal(1 - hard, 2.0).astype(np.float32),
    }
    if groups is not None:
        names = np.array([f"skill {g}" for g in range(groups)] + [None], dtype=object)
        data["group"] = names[rng.integers(0, groups + 1, rows)]
    return pa.table(data)


def plain(found: Statistics) -> dict[str, object]:
    """Return everything that statistics hold, in a form that can be compared."""
    kinds = {"class": found.classes, "group": found.groups}
    cells = {
        kind: None
        if of is None
        else [line for name in of.columns for line in _lines(of, name).select(STATISTICS_SCHEMA.names).to_pylist()]
        for kind, of in kinds.items()
    }
    notes = {name: value for name, value in vars(found).items() if name not in ("classes", "groups", "_whole")}
    return {**notes, **cells}
