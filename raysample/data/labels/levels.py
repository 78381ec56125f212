"""A hierarchical label: its levels from coarse to fine, such as domain and intent, of which one is the row's label."""

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
"""What the columns of levels begin with: `level_domain` in a corpus' tables, `level_0` in a judged batch."""


@dataclass(frozen=True)
class Levels:
    """The levels of a hierarchical label, coarse to fine.

    Attributes:
        names: of the levels; those of training's columns.
        classes: class names of each; an integer label of a level is a place among them.
        label: place of the level that is the row's `label`, by which scores and samples go.
    """

    names: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]
    label: int

    @staticmethod
    def of(data: Mapping[str, Any]) -> Levels:
        """Read back what JSON made of the levels."""
        return Levels(tuple(data["names"]), tuple(map(tuple, data["classes"])), int(data["label"]))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a corpus' tables that hold the integer labels, one per level."""
        return tuple(PREFIX + name for name in self.names)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many classes each level has."""
        return tuple(map(len, self.classes))

    @property
    def spans(self) -> tuple[slice, ...]:
        """Where the logits of each level stand among those of all heads, side by side in the order of the levels."""
        ends = np.cumsum(self.sizes).tolist()
        return tuple(slice(stop - size, stop) for stop, size in zip(ends, self.sizes, strict=True))


def others(columns: Columns) -> list[tuple[str, str]]:
    """Return the levels that are not the label: name in a judged batch, column of the source."""
    return [(f"{PREFIX}{place}", name) for place, name in enumerate(columns.levels) if name != columns.label]


def read_others(
    raw: Mapping[str, pa.Array], config: SourceConfig, names: Mapping[str, tuple[str, ...]], rows: int
) -> tuple[dict[str, pa.StringArray], Codes]:
    """Return the class names of the levels beside the label, and why a row lacks one of them (0: it lacks none)."""
    found: dict[str, pa.StringArray] = {}
    reason = np.zeros(rows, np.uint8)
    for name, column in others(config.columns):
        found[name], fault = read_labels(raw[column], names.get(column), config.labels)
        reason = np.where(reason == schema.FINE, fault, reason)
    return found, reason


def assembled(columns: Columns, label: Sequence[str], rest: Sequence[Sequence[str]]) -> Levels | None:
    """Return the levels out of the classes of the label and those of the others; None where there is one level."""
    if not columns.levels:
        return None
    place = columns.levels.index(columns.label)
    classes = [*map(tuple, rest[:place]), tuple(label), *map(tuple, rest[place:])]
    return Levels(tuple(columns.levels), tuple(classes), place)


def beside(levels: Levels | None) -> Iterator[tuple[str, ...]]:
    """Yield the classes of the levels that are not the label."""
    if levels is not None:
        yield from (found for place, found in enumerate(levels.classes) if place != levels.label)
