"""Join contents with existing scores: find contents without scores, and write the table of scored contents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysample.core import storage
from raysample.data import score_table
from raysample.data.corpus import QUARANTINE
from raysample.data.identity import group_codes
from raysample.data.labels.class_names import distinct_class_names
from raysample.data.log import ranges
from raysample.data.log.compaction import Contents
from raysample.data.log.merge import range_part
from raysample.data.schema import REASONS, UNSEEN
from raysample.data.score_table import ScoreTable
from raysample.data.score_table_layout import quarantine_of

TEXTS = pa.schema([("id", pa.string()), ("text", pa.string()), ("text_pair", pa.string()), ("label", pa.string())])


@dataclass(frozen=True)
class Known:
    """Files with existing scores, grouped by the ranges of content ids that they overlap.

    Attributes:
        scored: per range, files with `row_id`, `label`, `tokens` and the scores.
        lost: per range, quarantine files of contents that could not be scored.
    """

    scored: tuple[tuple[str, ...], ...]
    lost: tuple[tuple[str, ...], ...]

    @staticmethod
    def from_table(known: ScoreTable, of: int) -> Known:
        """Return the files of an earlier score table of contents, whose parts are ranges as well."""
        places = [storage.join(known.uri, name) for name in known.parts]
        found = [tuple(places[i] for i in ranges.overlapping(at, of, len(places))) for at in range(of)]
        return Known(tuple(found), tuple(tuple(map(quarantine_of, files)) for files in found))

    @staticmethod
    def from_files(spans: Iterable[tuple[str, str, str]], of: int) -> Known:
        """Return the files given as (URI, first id, last id); names with `quarantine-` are quarantine files."""
        held: tuple[list[list[str]], list[list[str]]] = ([[] for _ in range(of)], [[] for _ in range(of)])
        for uri, first, last in spans:
            kind = held[uri.rpartition("/")[2].startswith("quarantine-")]
            for at in range(ranges.place(first, of), ranges.place(last, of) + 1):
                kind[at].append(uri)
        return Known(*(tuple(map(tuple, kind)) for kind in held))

    def union(self, other: Known) -> Known:
        """Return the files of both, range by range."""
        return Known(
            tuple(a + b for a, b in zip(self.scored, other.scored, strict=True)),
            tuple(a + b for a, b in zip(self.lost, other.lost, strict=True)),
        )


def span(uri: str) -> tuple[str, str, str] | None:
    """Return a file's URI, its lowest and its highest row id; None for a file without rows."""
    ids = storage.read_parquet(uri, ["row_id"])["row_id"]
    found = pc.min_max(ids).as_py()
    return None if found["min"] is None else (uri, found["min"], found["max"])


@dataclass(frozen=True)
class Join:
    """The arguments common to all ranges: contents, classes, existing scores and score columns."""

    contents: Contents
    labels: tuple[str, ...]
    known: Known
    columns: tuple[str, ...]

    @property
    def of(self) -> int:
        """Number of ranges."""
        return len(self.contents.parts)

    @property
    def _classes(self) -> list[str]:
        """Classes of the checkpoints, in the spelling of the contents."""
        return distinct_class_names(self.labels, self.contents.source.labels)

    def missing(self, at: int, target: str, retry: bool) -> int:
        """Write the texts of a range's contents without scores, and return their number.

        Contents whose label the checkpoints do not know are left out; so are contents that could not be scored before,
        unless `retry`.
        """
        rows = storage.read_parquet(self.contents.places[at], TEXTS.names)
        there = [self._read(uri, at, ["row_id"])["row_id"] for uri in self.known.scored[at]]
        if not retry:
            there += [rows["row_id"] for rows in self._lost(at)]
        wanted = pc.is_in(rows["label"], value_set=pa.array(self._classes, pa.string()))
        done = pc.is_in(rows["id"], value_set=_strings(there))
        new = rows.filter(pc.and_(wanted, pc.invert(done)))
        if len(new):
            storage.write_parquet(range_part(target, at), new)
        return len(new)

    def write(self, at: int, target: str) -> tuple[int, int]:
        """Write a range's scores and its quarantine file; return the number of rows in each."""
        rows = storage.read_parquet(self.contents.places[at])
        names = ["row_id", "label", "tokens", *self.columns]
        scored = _table([self._read(uri, at, names) for uri in self.known.scored[at]], names)
        # Contents in the window that have a score keep it, wherever it was computed; the others go to quarantine.
        place = pc.index_in(rows["id"], value_set=scored["row_id"].combine_chunks())
        good = pc.is_valid(place)
        self._write_scores(rows.filter(good), scored.take(place.drop_null()), range_part(target, at))
        bad = rows.append_column("row", pa.array(np.arange(len(rows)))).filter(pc.invert(good))
        storage.write_parquet(quarantine_of(range_part(target, at)), self._losses(at, bad))
        return len(rows) - len(bad), len(bad)

    def _write_scores(self, rows: pa.Table, scored: pa.Table, uri: str) -> None:
        """Write scored contents with their groups and counts in the score table's schema."""
        found: dict[str, Any] = {name: scored[name] for name in ("row_id", "label", "tokens", *self.columns)}
        if self.contents.grouped:
            found |= {
                score_table.GROUP_COLUMN: rows["group"],
                score_table.GROUP_CODE_COLUMN: pa.array(group_codes(rows["group"])),
            }
        found[score_table.COUNT_COLUMN] = rows["count"]
        shape = score_table.table_schema(self.columns, self.contents.grouped, counted=True)
        storage.write_parquet(uri, pa.table({name: found[name] for name in shape.names}).cast(shape))

    def _losses(self, at: int, bad: pa.Table) -> pa.Table:
        """Return a quarantine table with the reason why each content has no scores."""
        reason_of: dict[str, str] = {}
        for rows in self._lost(at):
            reason_of.update(zip(rows["row_id"].to_pylist(), rows["reason"].to_pylist(), strict=True))
        known = set(self._classes)
        reasons = [
            reason_of.get(row, "not scored") if label in known else REASONS[UNSEEN]
            for row, label in zip(bad["id"].to_pylist(), bad["label"].to_pylist(), strict=True)
        ]
        file, stage = [self.contents.places[at]] * len(bad), ["score"] * len(bad)
        return pa.table([file, bad["row"], bad["id"], stage, reasons], schema=QUARANTINE)

    def _lost(self, at: int) -> Iterator[pa.Table]:
        """Yield the quarantined contents of a range from every file that exists."""
        for uri in self.known.lost[at]:
            if storage.exists(uri):
                yield self._read(uri, at, ["row_id", "reason"])

    def _read(self, uri: str, at: int, columns: Sequence[str]) -> pa.Table:
        """Return the rows of a file whose ids lie in a range."""
        return ranges.read_id_range(uri, at, self.of, "row_id", columns)


def _strings(pieces: Sequence[pa.ChunkedArray]) -> pa.Array:
    """Return chunks of several columns as one string array."""
    return pa.chunked_array([chunk for piece in pieces for chunk in piece.chunks], pa.string()).combine_chunks()


def _table(pieces: Sequence[pa.Table], names: Sequence[str]) -> pa.Table:
    """Return the rows of several tables in the schema of the given columns."""
    shape = score_table.table_schema(tuple(names[3:]))
    return pa.concat_tables([shape.empty_table(), *(piece.select(names).cast(shape) for piece in pieces)])
