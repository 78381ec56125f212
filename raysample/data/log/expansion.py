"""`expand`: a score table for every row of the log, from the scores of its unique contents, file by file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raysample.core import storage
from raysample.core.errors import ProvenanceError
from raysample.core.map_fn import MapFn, threads
from raysample.data import score_table
from raysample.data.identity import group_codes
from raysample.data.log import ranges
from raysample.data.log.compaction import Contents, stale
from raysample.data.log.tally import TALLY_FILE, FileTally, file_rows
from raysample.data.score_table import ScoreTable


@dataclass(frozen=True)
class _Expanded:
    """Row counts of one file of the log: all usable rows, and rows with a score."""

    rows: int
    scored: int


def expand_log(scores: ScoreTable, contents: Contents, uri: str, *, map_fn: MapFn = threads) -> ScoreTable:
    """Write a score table with one row per usable row of the log, in the order of its files, into folder `uri`.

    Rows keep their ids and groups from the log and get the scores of their content; a row whose content has no scores
    counts as quarantined. Memory: the scores of one file's distinct contents per running task.

    Args:
        scores: score table of the contents.
        contents: the unique contents of the log.
        uri: folder of the new table.
        map_fn: maps a function over the files: threads by default, or `Executor.map`.

    Raises:
        ProvenanceError: the scores belong to other contents, or the log changed since it was compacted.
    """
    if scores.corpus != contents.fingerprint:
        raise ProvenanceError(
            f"the scores {scores.uri!r} are not those of the contents {contents.uri!r}", "score the contents again"
        )
    changed = stale(contents)
    if changed:
        raise ProvenanceError(
            f"{len(changed)} files of the log changed since it was compacted, such as {changed[0]!r}",
            "compact and score it again, then expand",
        )
    storage.remove(storage.join(uri, score_table.SCORES_MANIFEST))
    write = partial(_write, scores=scores, contents=contents, uri=uri)
    files: list[_Expanded] = list(map_fn(write, list(enumerate(contents.files))))
    counts = {"in": sum(file.rows for file in files), "scored": sum(file.scored for file in files)}
    return ScoreTable(
        uri,
        tuple(_name(number) for number in range(len(files))),
        scores.scores,
        scores.labels,
        storage.fingerprint(["expanded", contents.fingerprint, [file.key for file in contents.files]]),
        scores.checkpoints,
        {**counts, "quarantined": counts["in"] - counts["scored"]},
        {**scores.made_by, "expanded": contents.fingerprint},
        grouped=contents.grouped,
    ).save()


def _name(number: int) -> str:
    """Return the part name of the log's file with a number."""
    return f"rows/part-{number:05d}.parquet"


def _write(numbered: tuple[int, FileTally], scores: ScoreTable, contents: Contents, uri: str) -> _Expanded:
    """Write the rows of one file of the log, piece by piece, and return their counts."""
    number, file = numbered
    known = _known(scores, storage.join(contents.place(file), TALLY_FILE))
    shape, counts = score_table.table_schema(scores.columns, contents.grouped), [0, 0]

    def pieces() -> Iterator[pa.Table]:
        """Yield the scored rows of the file in pieces, and count the rows that were read and those with scores."""
        for ids, rows in file_rows(contents.source, file, contents.place(file)):
            place = pc.index_in(ids, value_set=known["row_id"].combine_chunks())
            good = pc.is_valid(place)
            counts[0], counts[1] = counts[0] + len(rows), counts[1] + len(place.drop_null())
            yield _piece(rows.filter(good), known.take(place.drop_null()), shape, contents.grouped)

    storage.write_parquet_pieces(storage.join(uri, _name(number)), shape, pieces())
    return _Expanded(*counts)


def _piece(rows: pa.Table, scored: pa.Table, shape: pa.Schema, grouped: bool) -> pa.Table:
    """Return scored rows in the table's schema: ids and groups of the rows, scores of their contents."""
    columns: dict[str, Any] = {name: scored[name] for name in scored.column_names} | {"row_id": rows["row_id"]}
    if grouped:
        columns |= {
            score_table.GROUP_COLUMN: rows["group"],
            score_table.GROUP_CODE_COLUMN: pa.array(group_codes(rows["group"])),
        }
    return pa.table({name: columns[name] for name in shape.names}).cast(shape)


def _known(scores: ScoreTable, tally: str) -> pa.Table:
    """Return the scores of the contents that occur in one file, from every part that holds some of them."""
    names, of = ["row_id", "label", "tokens", *scores.columns], len(scores.parts)
    pieces: list[pa.Table] = [score_table.table_schema(scores.columns).empty_table()]
    for at, part in enumerate(scores.parts):
        ids = ranges.read_id_range(tally, at, of, columns=["id"])["id"]
        if len(ids):
            rows = storage.read_parquet(storage.join(scores.uri, part), names)
            pieces.append(rows.filter(pc.is_in(rows["row_id"], value_set=pc.unique(ids))).replace_schema_metadata(None))
    return pa.concat_tables(pieces)
