"""What a selection leaves of classes and lengths, against the rows it chose from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from raysample.selection.result import KEPT, Selection
from raysample.table import ScoreTable

BANDS = 4


@dataclass(frozen=True)
class Band:
    """Rows of `least` to `most` tokens: how many there are, and how many are kept."""

    least: int
    most: int
    rows: int
    kept: int


def lengths(selection: Selection, table: ScoreTable) -> tuple[Band, ...]:
    """Return four bands of length with about as many rows each, fewer where many rows are alike; shortest first."""
    rows, kept = Counter[int](), Counter[int]()
    for scores, chosen in zip(table.read(()), selection.read(("decision",)), strict=True):
        tokens = scores["tokens"].to_numpy()
        mask = np.asarray(chosen["decision"].to_pylist(), object) == KEPT
        rows.update(tokens.tolist())
        kept.update(tokens[mask].tolist())
    sizes = sorted(rows)
    running = np.cumsum([rows[size] for size in sizes])
    band = np.minimum((running - 1) * BANDS // max(1, running[-1]), BANDS - 1) if sizes else np.zeros(0, int)
    found = []
    for number in np.unique(band):
        mine = [size for size, place in zip(sizes, band, strict=True) if place == number]
        found.append(Band(mine[0], mine[-1], sum(rows[size] for size in mine), sum(kept[size] for size in mine)))
    return tuple(found)


def smallest(selection: Selection, count: int = 5) -> tuple[tuple[str, int, int], ...]:
    """Return (class, rows, kept) of the classes with the fewest kept rows, fewest first, of those that had any."""
    there = [c for c, rows in enumerate(selection.class_counts) if rows]
    order = sorted(there, key=lambda c: (selection.kept_class_counts[c], selection.class_counts[c]))[:count]
    return tuple((selection.labels[c], selection.class_counts[c], selection.kept_class_counts[c]) for c in order)
