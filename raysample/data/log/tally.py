"""Tally one file of a log: each content that occurs in the file once, with counts. A pure function of the file."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from raysample.core import manifests, storage
from raysample.core.arrays import Mask, WordArray
from raysample.core.config import SourceConfig
from raysample.core.errors import CorpusError
from raysample.data.corpus.judge_rows import JudgedRows, content_ids, folder_columns, id_hashes
from raysample.data.corpus.quarantine import Quarantine
from raysample.data.corpus.read_file import read_judged
from raysample.data.labels.class_names import LabelNotes
from raysample.data.schema import DUPLICATE, FILTERS, FINE, REASONS, Batch, Part
from raysample.data.sources.resolve import Source, has_rows, part_of, reader_of

VERSION = 2
"""Increased when the meaning of a tally changes: files are then tallied again."""
BATCH_ROWS = 1 << 16
TALLY_BUFFER_ROWS = 1 << 20
"""Tallied rows kept in memory before they are merged."""
CONTENT_FIELDS = (
    ("text", pa.string()),
    ("text_pair", pa.string()),
    ("label", pa.string()),
    ("count", pa.int64()),
    ("first_seen", pa.string()),
    ("last_seen", pa.string()),
)
"""Columns of a content, with its copies and times, in a file's tally and in the merged contents."""
TALLY_SCHEMA = pa.schema([("id", pa.string()), ("group", pa.string()), *CONTENT_FIELDS])
"""Columns of a tally: one row per content and group, sorted by id."""
TALLY_FILE, TALLY_MANIFEST = "tally.parquet", "tally.json"


@dataclass(frozen=True)
class FileTally:
    """The tally of one file of a log.

    Attributes:
        name: file name relative to the log.
        uri: address of the file.
        key: name of the tally's folder: a hash of file, stamp, columns and VERSION.
        counts: rows `in`, `usable`, `quarantined`, `filtered`.
        reasons: reason for quarantine -> rows.
        tallied: rows of the tally: one per content and group.
        left_out: filter reason -> rows.
        spellings: class -> spellings of its label in the file.
        class_names: integer column -> its ClassLabel names, None if it has none.
    """

    name: str
    uri: str
    key: str
    counts: dict[str, int]
    reasons: dict[str, int]
    tallied: int
    left_out: dict[str, int] = field(default_factory=dict)
    spellings: dict[str, list[str]] = field(default_factory=dict)
    class_names: dict[str, list[str] | None] = field(default_factory=dict)


def partition(part: Part) -> str:
    """Return a file's partition, the unit of the window: its folder, or the file itself if directly in the log."""
    return posixpath.dirname(part.name) or part.name


def key_of(config: SourceConfig, part: Part) -> str:
    """Return the identity of a file in its present state, read with this configuration."""
    fs, path = storage.filesystem(part.uri)
    settings = config.model_copy(update={"path": "", "max_quarantined": 1.0}).to_dict()
    return storage.fingerprint([part.name, str(fs.ukey(path)), settings, VERSION])[:20]


def tally_file(uri: str, config: SourceConfig, folder: str) -> FileTally:
    """Tally one file of a resolved source below `folder`; a complete tally of the same file is reused.

    Raises:
        CorpusError: the file cannot be read, or lacks a column.
    """
    part = part_of(config, uri)
    key = key_of(config, part)
    place = storage.join(folder, key)
    manifest = storage.join(place, TALLY_MANIFEST)
    if storage.exists(manifest):
        return manifests.kind_of(FileTally, manifest)
    file = _File(config, part, place)
    table = file.tally(file.repeats())
    storage.write_parquet(storage.join(place, TALLY_FILE), table)
    notes = (file.notes.spellings.noted(), file.notes.names)
    tally = FileTally(part.name, uri, key, file.counts, file.reasons, table.num_rows, file.left_out, *notes)
    storage.write_json(manifest, asdict(tally))
    return tally


def file_rows(config: SourceConfig, file: FileTally, place: str) -> Iterator[tuple[pa.Array, pa.Table]]:
    """Yield the usable rows of a tallied file in pieces: content ids, and columns as in `judge_rows.CONTENT`."""
    reader = _File(config, part_of(config, file.uri), place)
    for rows, good, _ in reader.rows(reader.repeats()):
        usable = rows.content.filter(pa.array(good))
        yield content_ids(usable), usable


class _File:
    """Reads one file from end to end: once, or twice if ids may repeat."""

    def __init__(self, config: SourceConfig, part: Part, place: str) -> None:
        self.config, self.part, self.place = config, part, place
        self.counts = {"in": 0, "usable": 0, "quarantined": 0, "filtered": 0}
        self.reasons: dict[str, int] = {}
        self.left_out: dict[str, int] = {}
        self.notes = LabelNotes(config)

    def repeats(self) -> Mask:
        """Return [rows] whether a row repeats the id of an earlier usable row; length 0 without an id column."""
        if self.config.columns.id is None:
            return np.zeros(0, np.bool_)
        # First pass: hashes of ids only. Texts are read again by `rows`, if at all.
        hashes: list[WordArray] = []
        usable: list[Mask] = []
        for _, rows in self._judged():
            hashes.append(id_hashes(rows))
            usable.append(rows.matches & (rows.reason == FINE))
        ids, fine = (np.concatenate(found) if found else np.zeros(0) for found in (hashes, usable))
        places = np.flatnonzero(fine)
        repeated = np.zeros(len(ids), np.bool_)
        repeated[places] = True
        repeated[places[np.unique(ids[places], return_index=True)[1]]] = False
        return repeated

    def tally(self, repeated: Mask) -> pa.Table:
        """Count the file's contents and quarantine its bad rows."""
        quarantine = Quarantine(self.place)
        held = [TALLY_SCHEMA.empty_table()]
        for rows, good, start in self.rows(repeated):
            bad = rows.matches & (rows.reason != FINE)
            quarantine.add(self.part, start, rows, bad)
            self._count(rows, good, bad)
            held.append(tally_rows(rows.content.filter(pa.array(good))))
            # Merging now and then keeps memory at the distinct contents plus TALLY_BUFFER_ROWS.
            if sum(piece.num_rows for piece in held) > TALLY_BUFFER_ROWS:
                held = [merge_tallies(held)]
        quarantine.close()
        self._reconcile(quarantine.written)
        return merge_tallies(held).sort_by([("id", "ascending"), ("group", "ascending")])

    def _reconcile(self, written: int) -> None:
        """Raise CorpusError unless rows in = usable + quarantined + filtered, and all quarantined rows were written."""
        counts = self.counts
        judged = counts["usable"] + counts["quarantined"] + counts["filtered"]
        if not (counts["in"] == judged and counts["quarantined"] == written):
            raise CorpusError(
                f"rows of {self.part.uri!r} were lost: {counts['in']:,} were read; {counts['usable']:,} are usable, "
                f"{counts['quarantined']:,} in quarantine ({written:,} were written), {counts['filtered']:,} filtered",
                "please report this; do not use the contents",
            )

    def rows(self, repeated: Mask) -> Iterator[tuple[JudgedRows, Mask, int]]:
        """Yield judged rows, the mask of usable ones, and the position of the first row."""
        for batch, rows in self._judged():
            if len(repeated):
                rows.reason[repeated[batch.start : batch.start + batch.rows]] = DUPLICATE
            yield rows, rows.matches & (rows.reason == FINE), batch.start

    def _judged(self) -> Iterator[tuple[Batch, JudgedRows]]:
        """Yield raw and judged batches; record the spellings of their labels."""
        config, reader = self.config, reader_of(self.config)
        if not has_rows(Source(config, reader, (self.part,)), self.part):
            return
        names = reader.names(self.part)
        for batch, rows in read_judged(config, self.part, BATCH_ROWS):
            self.notes.add(self.part.name, {**batch.columns, **folder_columns(self.part, batch.rows)}, names)
            yield batch, rows

    def _count(self, rows: JudgedRows, good: Mask, bad: Mask) -> None:
        """Add the counts and reasons of a batch."""
        counts = {"in": len(good), "usable": int(good.sum()), "quarantined": int(bad.sum())}
        counts["filtered"] = int((~rows.matches).sum())
        self.counts = {name: self.counts[name] + counts[name] for name in self.counts}
        for code, number in zip(*np.unique(rows.reason[bad], return_counts=True), strict=True):
            self.reasons[REASONS[code]] = self.reasons.get(REASONS[code], 0) + int(number)
        for code, number in zip(*np.unique(rows.filtered[~rows.matches], return_counts=True), strict=True):
            self.left_out[FILTERS[code]] = self.left_out.get(FILTERS[code], 0) + int(number)


def tally_rows(content: pa.Table) -> pa.Table:
    """Return judged rows as a tally, each row with count 1."""
    time = content["timestamp"]
    columns: dict[str, Any] = {
        "id": content_ids(content),
        **{name: content[name] for name in ("group", "text", "text_pair", "label")},
        "count": np.ones(len(content), np.int64),
        "first_seen": time,
        "last_seen": time,
    }
    return merge_tallies([pa.table(columns, schema=TALLY_SCHEMA)])


def merge_tallies(pieces: list[pa.Table]) -> pa.Table:
    """Add up tallies by (content, group). The order of the result is unspecified, like Arrow's groups."""
    whole = pa.concat_tables(pieces).combine_chunks()
    numbered = whole.append_column("row", pa.array(np.arange(len(whole))))
    sums = [("count", "sum"), ("first_seen", "min"), ("last_seen", "max"), ("row", "min")]
    added = numbered.group_by(["id", "group"]).aggregate(sums)
    # `row` finds the first row of each group: texts and labels are equal within a content, so any row would do.
    texts = whole.select(["text", "text_pair", "label"]).take(added["row_min"])
    columns = {name: added[name] for name in ("id", "group")} | {name: texts[name] for name in texts.column_names}
    columns |= {"count": added["count_sum"], "first_seen": added["first_seen_min"], "last_seen": added["last_seen_max"]}
    return pa.table(columns, schema=TALLY_SCHEMA)
