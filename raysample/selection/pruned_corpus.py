"""`apply`: write the rows that a selection keeps, with all their columns, from the corpus or a copy of it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raysample.core import storage
from raysample.core.errors import ProvenanceError, SelectionError
from raysample.data.corpus import Corpus
from raysample.data.identity import hash_row_ids
from raysample.selection.result import KEPT, Selection

PRUNED_MANIFEST = "pruned.json"
WEIGHT = "raysample_weight"
SUFFIX = re.compile(r"\.(parquet|pq|jsonl|ndjson|csv|tsv)(\.gz)?$")
Form = Literal["parquet", "datasets"]
Pieces = Iterator[tuple[str, pa.Table | None]]
"""(source file, its kept rows, or None if it has none)."""


@dataclass(frozen=True)
class Applied:
    """A pruned corpus: its folder, its rows, and its files relative to the folder."""

    uri: str
    rows: int
    files: tuple[str, ...]


def apply(selection: Selection, corpus: Corpus, uri: str, form: Form = "parquet") -> Applied:
    """Write the kept rows of a corpus into folder `uri`, in reading order, with every column of the source.

    `parquet` writes one file per source file at the same relative path (partition folders included); files without a
    kept row are left out. `datasets` writes one `save_to_disk` folder. If weights differ between rows, a column
    `raysample_weight` holds them. The manifest `pruned.json` is written last. Memory: the kept rows of one file.

    Raises:
        ProvenanceError: the selection was made from another corpus, or the source changed.
        SelectionError: `uri` exists already, a kept row is not in the corpus, or a source column has the name of the
            weight column.
    """
    _check(selection, corpus, uri)
    kept = _Kept.from_selection(selection)
    pieces = ((name, _rows(corpus, list(shards), kept)) for name, shards in groupby(corpus.shards, lambda s: s.uri))
    files: tuple[str, ...] = (".",)
    if form == "datasets":
        written = _write_dataset(corpus, pieces, uri)
    else:
        written, files = _write_files(corpus, pieces, uri)
    if written != selection.counts[KEPT]:
        raise SelectionError(
            f"the selection keeps {selection.counts[KEPT]:,} rows, {written:,} of them were found in the corpus",
            "row ids repeat or are missing; describe the source again, and score and sample it anew",
        )
    manifest = {"selection": selection.name, "fingerprint": selection.fingerprint, "corpus": corpus.fingerprint}
    storage.write_json(storage.join(uri, PRUNED_MANIFEST), {**manifest, "rows": written, "files": list(files)})
    return Applied(uri, written, files)


def _check(selection: Selection, corpus: Corpus, uri: str) -> None:
    """Raise an error for a selection of another corpus, or a target that exists."""
    if selection.corpus != corpus.fingerprint:
        raise ProvenanceError(
            f"the selection {selection.uri!r} was made from another corpus than {corpus.uri!r}",
            "give the corpus that was scored, or a copy with the same rows and labels",
        )
    if storage.exists(uri):
        raise SelectionError(f"there is something at {uri!r} already", "give a folder that does not exist yet")


@dataclass(frozen=True)
class _Kept:
    """The kept rows: sorted hashes of their ids, and their weights; None if all weights are equal."""

    identity: npt.NDArray[np.uint64]
    weight: npt.NDArray[np.float32] | None

    @staticmethod
    def from_selection(selection: Selection) -> _Kept:
        """Return the kept rows of a selection."""
        rows = selection.kept()
        known, weight = hash_row_ids(rows["row_id"].combine_chunks()), rows["weight"].to_numpy()
        # Sorted hashes, 8 bytes a row, instead of a set of strings: lookups by binary search.
        order = np.argsort(known)
        alike = len(weight) == 0 or bool((weight == weight[0]).all())
        return _Kept(known[order], None if alike else weight[order])

    def find(self, ids: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the positions of kept rows among `ids`, and their positions in `identity`."""
        hashes = hash_row_ids(pa.concat_arrays(ids.chunks) if ids.num_chunks else pa.array([], pa.string()))
        place = np.minimum(np.searchsorted(self.identity, hashes), max(0, len(self.identity) - 1))
        matching = np.flatnonzero(self.identity[place] == hashes) if len(self.identity) else np.zeros(0, np.int64)
        return matching, place[matching]


def _rows(corpus: Corpus, shards: list[Any], kept: _Kept) -> pa.Table | None:
    """Return the kept rows of one file's shards, or None if there are none."""
    pieces = []
    for shard in shards:
        ids, raw = corpus.raw(shard.index)
        check_columns(raw, shard.uri)
        matching, place = kept.find(ids)
        piece = raw.take(pa.array(matching))
        if kept.weight is not None:
            piece = piece.append_column(WEIGHT, pa.array(kept.weight[place]))
        pieces.append(piece)
    whole = pa.concat_tables(pieces, promote_options="permissive")
    return whole if whole.num_rows else None


def check_columns(raw: pa.Table, uri: str) -> None:
    """Raise SelectionError for columns that Parquet cannot hold, or that have the name of the weights."""
    if WEIGHT in raw.column_names:
        raise SelectionError(f"{uri!r} has a column {WEIGHT!r} already", "rename it in the source")
    for field in raw.schema:
        if pa.types.is_union(field.type):
            raise SelectionError(
                f"column {field.name!r} of {uri!r} holds nested values, or values of several kinds, which one Parquet "
                "column cannot take over as they are",
                "leave the column out of the source, or convert the source to Parquet, and describe it again",
            )


def _write_files(corpus: Corpus, pieces: Pieces, uri: str) -> tuple[int, tuple[str, ...]]:
    """Write one Parquet file per source file; return the number of rows, and the file names."""
    written, files = 0, list[str]()
    root = corpus.source.path.rstrip("/")
    for source, table in pieces:
        if table is not None:
            name = posixpath.basename(source) if source.rstrip("/") == root else posixpath.relpath(source, root)
            file = f"{_stem(name)}.parquet"
            storage.write_parquet(storage.join(uri, file), table)
            written, files = written + table.num_rows, [*files, file]
    return written, tuple(files)


def _stem(name: str) -> str:
    """Return a relative file name without its format suffix."""
    folder, file = posixpath.split(name)
    return posixpath.join(folder, SUFFIX.sub("", file))


def _write_dataset(corpus: Corpus, pieces: Pieces, uri: str) -> int:
    """Write all kept rows as one `datasets` folder with its ClassLabel names; return the number of rows."""
    import datasets  # takes a second, and only this format needs it

    tables = [table for _, table in pieces if table is not None]
    whole = pa.concat_tables(tables, promote_options="permissive")
    features = datasets.Features.from_arrow_schema(whole.schema)
    features |= {name: datasets.ClassLabel(names=list(names)) for name, names in corpus.class_names().items()}
    datasets.Dataset(whole).cast(features).save_to_disk(uri)
    return int(whole.num_rows)
