"""Hierarchical labels: levels from coarse to fine, such as domain and intent; one of them is the row's label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raysample.core.config import Columns, SourceConfig
from raysample.data import schema
from raysample.data.labels.classes import Codes, read_labels

PREFIX = "level_"
"""Prefix of level columns: `level_domain` in a corpus's tables, `level_0` in a judged batch."""


@dataclass(frozen=True)
class Levels:
    """The levels of a hierarchical label, coarse to fine.

    Attributes:
        names: names of the levels: the column names in the training source.
        classes: class names of each level; an integer label of a level is an index into them.
        label: index of the level that is the row's `label`, which scores and samples use.
    """

    names: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]
    label: int

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Levels:
        """Return levels from their JSON form."""
        return Levels(tuple(data["names"]), tuple(map(tuple, data["classes"])), int(data["label"]))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of a corpus's tables that hold the integer labels, one per level."""
        return tuple(PREFIX + name for name in self.names)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of classes per level."""
        return tuple(map(len, self.classes))

    @property
    def spans(self) -> tuple[slice, ...]:
        """Slice of each level in the concatenated logits [B, sum(sizes)] of all heads, in level order."""
        ends = np.cumsum(self.sizes).tolist()
        return tuple(slice(stop - size, stop) for stop, size in zip(ends, self.sizes, strict=True))


def others(columns: Columns) -> list[tuple[str, str]]:
    """Return the levels that are not the label: (name in a judged batch, column of the source)."""
    return [(f"{PREFIX}{place}", name) for place, name in enumerate(columns.levels) if name != columns.label]


def read_others(
    raw: Mapping[str, pa.Array], config: SourceConfig, names: Mapping[str, tuple[str, ...]], rows: int
) -> tuple[dict[str, pa.StringArray], Codes]:
    """Return the class names of the levels other than the label, and a reason code per row (0: all usable)."""
    found: dict[str, pa.StringArray] = {}
    reason = np.zeros(rows, np.uint8)
    for name, column in others(config.columns):
        found[name], fault = read_labels(raw[column], names.get(column), config.labels)
        reason = np.where(reason == schema.FINE, fault, reason)
    return found, reason


def assembled(columns: Columns, label: Sequence[str], rest: Sequence[Sequence[str]]) -> Levels | None:
    """Return levels from the classes of the label and of the other levels; None for a flat label."""
    if not columns.levels:
        return None
    place = columns.levels.index(columns.label)
    classes = [*map(tuple, rest[:place]), tuple(label), *map(tuple, rest[place:])]
    return Levels(tuple(columns.levels), tuple(classes), place)


def beside(levels: Levels | None) -> Iterator[tuple[str, ...]]:
    """Yield the class names of the levels that are not the label."""
    if levels is not None:
        yield from (found for place, found in enumerate(levels.classes) if place != levels.label)
