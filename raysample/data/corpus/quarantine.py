"""Quarantine: position and reason of unusable rows, in Parquet parts. Texts are never written there."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from raysample.core import storage
from raysample.core.arrays import Mask
from raysample.data.corpus.judge_rows import JudgedRows
from raysample.data.schema import QUARANTINE, REASONS, Part

QUARANTINE_FOLDER = "quarantine"
PART_ROWS = 100_000


QUARANTINE_SCHEMA = QUARANTINE.append(pa.field("line", pa.int64()))
"""Columns of a corpus's quarantine: the common ones, and the first line (from 1 on) of a row in a line format."""


class Quarantine:
    """Collects quarantined rows and writes them to `uri/quarantine/part-*.parquet`, at least one file.

    Attributes:
        first: reason -> position of the first row quarantined for it, as text.
    """

    def __init__(self, uri: str) -> None:
        self.folder = storage.join(uri, QUARANTINE_FOLDER)
        self._held: list[pa.Table] = []
        self._rows = 0
        self._parts = 0
        self.written = 0
        self.first: dict[str, str] = {}

    def add(self, part: Part, start: int, rows: JudgedRows, where: Mask) -> None:
        """Quarantine the rows of a batch that the mask `where` [rows] marks, with their reasons."""
        if not where.any():
            return
        places = np.flatnonzero(where)
        columns = {
            "file": pa.repeat(pa.scalar(part.name), len(places)),
            "row": pa.array(places + start),
            "row_id": rows.content["row_id"].take(pa.array(places)),
            "stage": pa.repeat(pa.scalar("corpus"), len(places)),
            "reason": pa.array([REASONS[code] for code in rows.reason[places]], pa.string()),
            "line": pa.nulls(len(places), pa.int64()) if rows.lines is None else pa.array(rows.lines[places]),
        }
        for code, at in zip(*np.unique(rows.reason[places], return_index=True), strict=True):
            place = int(places[at])
            at_line = f"row {start + place}" if rows.lines is None else f"line {rows.lines[place]}"
            self.first.setdefault(REASONS[code], f"{at_line} of {part.name!r}")
        self._held.append(pa.table(columns).cast(QUARANTINE_SCHEMA))
        self._rows += len(places)
        self.written += len(places)
        if self._rows >= PART_ROWS:
            self._flush()

    def close(self) -> None:
        """Write the rows that are still in memory."""
        if self._held or not self._parts:
            self._flush()

    def _flush(self) -> None:
        """Write the rows in memory as the next part."""
        table = pa.concat_tables([QUARANTINE_SCHEMA.empty_table(), *self._held])
        storage.write_parquet(storage.join(self.folder, f"part-{self._parts:05d}.parquet"), table)
        self._parts, self._held, self._rows = self._parts + 1, [], 0
