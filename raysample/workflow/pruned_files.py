"""The files of `prune`: kept and removed rows with all columns of the source, and the suspects."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from raysample.core import storage
from raysample.core.errors import ProvenanceError, SelectionError
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.selection import Selection
from raysample.selection.probe.probe_table import suspects_of
from raysample.selection.pruned_corpus import WEIGHT, check_columns
from raysample.selection.race.decision import KEPT_ROWS_FILE, MOST_SUSPECTS, REMOVED_ROWS_FILE, SUSPECTS_FILE
from raysample.selection.result import KEPT, PRUNED

ROW_ID, REASON = "raysample_row_id", "raysample_reason"
SUSPECT_COLUMNS = ("row_id", "given", "predicted", "given_confidence", "predicted_confidence", "text", "text_pair")


def write_pruned_files(corpus: Corpus, selection: Selection, uri: str) -> None:
    """Write `kept.parquet` and `removed.parquet` into folder `uri`: the source's columns, row id, weight or reason.

    Memory: one shard.

    Raises:
        SelectionError: files of the source have columns of types that do not go together, or a column's name is used
            by raysample.
        ProvenanceError: the source changed, or the selection belongs to another corpus.
    """
    schema = _schema(corpus)
    for name, decision, column, more in (
        (KEPT_ROWS_FILE, KEPT, "weight", pa.field(WEIGHT, pa.float32())),
        (REMOVED_ROWS_FILE, PRUNED, "reason", pa.field(REASON, pa.string())),
    ):
        whole = schema.append(pa.field(ROW_ID, pa.string())).append(more)
        storage.write_parquet_pieces(
            storage.join(uri, name), whole, _pieces(corpus, selection, whole, decision, column)
        )


def _pieces(corpus: Corpus, selection: Selection, schema: pa.Schema, decision: str, column: str) -> Iterator[pa.Table]:
    """Yield the rows of each shard with a decision, with row id and one column of the selection."""
    decided = selection.read(("row_id", "decision", column))
    for shard, rows in zip(corpus.shards, decided, strict=True):
        ids, raw = corpus.raw(shard.index)
        if not ids.equals(rows["row_id"]):
            raise ProvenanceError(
                f"the rows of shard {shard.index} of {corpus.uri!r} are not those that were selected from",
                "run the command again with another output folder",
            )
        mask = pc.equal(rows["decision"], decision)
        with _types_that_fit(corpus):
            piece = _fitted(raw, pa.schema(list(schema)[:-2])).append_column(schema.field(ROW_ID), ids)
        yield piece.append_column(schema.field(-1), rows[column]).filter(mask)


def _schema(corpus: Corpus) -> pa.Schema:
    """Return a schema that holds the columns of all shards: what a file holds may differ from row to row."""
    found = list[pa.Schema]()
    for shard in corpus.shards:
        raw = _with_numbers(corpus.raw(shard.index)[1])
        check_columns(raw, shard.uri)
        schema = raw.schema.remove_metadata()
        if schema not in found:
            found.append(schema)
    with _types_that_fit(corpus):
        whole = pa.unify_schemas(found, promote_options="permissive")
    taken = [name for name in (ROW_ID, REASON, WEIGHT) if name in whole.names]
    if taken:
        raise SelectionError(f"the source has a column {taken[0]!r} already", "rename it in the source")
    return whole


@contextmanager
def _types_that_fit(corpus: Corpus) -> Iterator[None]:
    """Turn errors of types that do not go together into a SelectionError that names the source."""
    try:
        yield
    except pa.ArrowException as error:
        raise SelectionError(
            f"{corpus.source.path!r} has columns of one name and types that do not go together: {error}",
            "convert them to one type first",
        ) from error


def _with_numbers(raw: pa.Table) -> pa.Table:
    """Return rows whose columns of whole and other numbers, as JSON mixes them, are float64."""
    for place, field in enumerate(raw.schema):
        if pa.types.is_union(field.type):
            values = raw[field.name].to_pylist()
            if all(
                value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values
            ):
                raw = raw.set_column(place, field.name, pa.array(values, pa.float64()))
    return raw


def _fitted(raw: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows in the schema of all shards: missing columns are null, types are widened."""
    raw = _with_numbers(raw)
    columns = [
        raw[field.name].cast(field.type) if field.name in raw.column_names else pa.nulls(len(raw), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def write_suspects(corpus: Corpus, table: ScoreTable, uri: str, show_text: bool = True) -> int:
    """Write `suspects.csv` into folder `uri`, the least confident first; return the number of suspects listed.

    Columns: row id, given and predicted class, the probe's confidence in each (out of fold), and the texts if wanted.
    """
    best: list[tuple[float, Sequence[Any]]] = []
    for shard, part in zip(corpus.shards, table.parts, strict=True):
        found = suspects_of(table, part)
        if not len(found):
            continue
        rows = corpus.read(shard.index)
        rows = rows.take(pc.index_in(found["row_id"], value_set=rows["row_id"].combine_chunks()))
        texts = rows.select(["text", "text_pair"]).to_pylist()
        for one, each in zip(found.to_pylist(), texts, strict=True):
            line = (
                *(one["row_id"], table.labels[one["label"]], table.labels[one["predicted"]]),
                *(f"{one['confidence']:.4f}", f"{one['predicted_confidence']:.4f}"),
                *(each["text"], each["text_pair"] or ""),
            )
            best.append((one["confidence"], line))
        best = sorted(best, key=lambda each: (each[0], each[1][0]))[:MOST_SUSPECTS]

    def write(stream: IO[bytes]) -> None:
        """Write the header and the suspects."""
        text = io.TextIOWrapper(stream, "utf-8", errors="replace", newline="")
        lines = csv.writer(text)
        columns = len(SUSPECT_COLUMNS) if show_text else SUSPECT_COLUMNS.index("text")
        lines.writerow(SUSPECT_COLUMNS[:columns])
        lines.writerows(line[:columns] for _, line in best)
        text.flush()
        text.detach()

    storage.write_file(storage.join(uri, SUSPECTS_FILE), write)
    return len(best)
