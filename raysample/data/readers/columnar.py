"""Readers of columnar formats: Parquet, `datasets` folders (`save_to_disk`) and hub names."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raysample.core import storage
from raysample.core.config import LimitsConfig
from raysample.core.errors import CorpusError
from raysample.data.readers.arrow_files import check_unpacked
from raysample.data.readers.arrow_validity import check_arrays, longer_than
from raysample.data.readers.class_label_metadata import class_labels
from raysample.data.readers.damage import check_regular_source, naming_file
from raysample.data.readers.dataset_folders import check_dataset_folder as check_folder
from raysample.data.readers.expansion import allowed, check_expansion, expansion_error
from raysample.data.schema import TOO_LARGE, Batch, Part

HUB = "hub:"
DATASETS_FOLDER_ADVICE = "it is read as a datasets folder: write it again with Dataset.save_to_disk"
HELD_BYTES = 256 << 20
"""Largest row group that a worker keeps decoded in memory; larger groups are decoded again for every shard."""


class Columnar(ABC):
    """A format whose rows have numbers: a row range is found by its first row, whatever its byte offset."""

    @abstractmethod
    def rows(self, part: Part, columns: Sequence[str], start: int, stop: int) -> Batch | None:
        """Return rows `start` to `stop`, as `Reader.range` does."""

    def range(self, part: Part, columns: Sequence[str], start: int, stop: int, offset: int) -> Batch | None:  # noqa: ARG002
        """Return rows `start` to `stop`: fewer if the file ends before `stop`, None if it ends before `start`."""
        return self.rows(part, columns, start, stop)


@dataclass(frozen=True)
class Parquet(Columnar):
    """Parquet files; only requested columns, and row groups that overlap the requested rows, are read."""

    limits: LimitsConfig = field(default_factory=LimitsConfig)

    def fields(self, part: Part) -> tuple[str, ...]:
        """Return the top-level columns."""
        with _parquet(part.uri) as file:
            return tuple(file.schema_arrow.names)

    def names(self, part: Part) -> dict[str, tuple[str, ...]]:
        """Return the ClassLabel names in the schema's `huggingface` metadata."""
        with _parquet(part.uri) as file:
            return class_labels(file.schema_arrow.metadata, part.uri)

    def batches(self, part: Part, columns: Sequence[str], size: int) -> Iterator[Batch]:
        """Yield all rows, decoded in pieces; raises CorpusError if they unpack to more than the limits allow."""
        start = 0
        with _opened(part.uri) as (stream, file):
            check_expansion(stream, file, part.uri, columns, self.limits)
            size_on_disk = stream.seek(0, io.SEEK_END)
            unpacked, most = 0, allowed(size_on_disk, self.limits)
            pieces = file.iter_batches(min(size, 1 << 16), columns=list(columns), use_threads=False)
            for rows, table in _rechunked(pieces, size):
                unpacked += table.nbytes
                if unpacked > most:  # the footer was wrong
                    raise expansion_error(part.uri, size_on_disk, unpacked, self.limits)
                yield _batch(table, columns, start, self.limits)
                start += rows
            if start != file.metadata.num_rows:
                raise ValueError(f"its footer promises {file.metadata.num_rows:,} rows, its pages hold {start:,}")

    def rows(self, part: Part, columns: Sequence[str], start: int, stop: int) -> Batch | None:
        """Return a row range from the row groups that overlap it; the last decoded group is cached for the next call.

        A Parquet row group decodes only from its beginning, and writers often use groups of a million rows: without
        the cache, reading such a group shard by shard would take time quadratic in its rows.
        """
        pieces = []
        with _parquet(part.uri) as file:
            fs, path = storage.filesystem(part.uri)
            stamp = fs.ukey(path)  # part of the cache key: a changed file is decoded again
            for group, first, last in _overlaps(file.metadata, start, stop):
                if file.metadata.row_group(group).total_byte_size <= HELD_BYTES:
                    piece = _group(part.uri, stamp, group, tuple(columns)).slice(first, last - first)
                else:
                    piece = _cut(file, group, columns, first, last)
                pieces.append(piece)
            table = pa.concat_tables(pieces) if pieces else None
            return None if table is None else _batch(table, columns, start, self.limits)


@lru_cache(maxsize=1)
def _group(uri: str, stamp: str, group: int, columns: tuple[str, ...]) -> pa.Table:  # noqa: ARG001
    """Return a decoded row group, cached by file state."""
    with _parquet(uri) as file:
        return file.read_row_group(group, columns=list(columns), use_threads=False)


def _cut(file: pq.ParquetFile, group: int, columns: Sequence[str], first: int, last: int) -> pa.Table:
    """Return rows `first` to `last` of a row group that is too large to cache, decoded in small pieces."""
    pieces = file.iter_batches(4096, row_groups=[group], columns=list(columns), use_threads=False)
    return next(_rechunked(_without(pieces, first), last - first))[1]


def _overlaps(metadata: Any, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield (row group, first row, last row) of every row group that overlaps a row range."""
    first = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if start < first + rows and first < stop:
            yield group, max(0, start - first), min(rows, stop - first)
        first += rows


@contextmanager
def _parquet(uri: str) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; errors name the file."""
    with _opened(uri) as (_, file):
        yield file


@contextmanager
def _opened(uri: str) -> Iterator[tuple[IO[bytes], pq.ParquetFile]]:
    """Open a Parquet file and its stream; errors name the file."""
    check_regular_source(uri)
    fs, path = storage.filesystem(uri)
    with naming_file(uri), fs.open(path, "rb") as stream:
        file = pq.ParquetFile(stream)
        _check_names(file.schema_arrow.names, uri)
        yield stream, file


def _check_names(names: Sequence[str], uri: str) -> None:
    """Raise CorpusError for a repeated column name."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CorpusError(f"{uri!r} names the column {twice[0]!r} twice", "give every column a name of its own")


def _without(pieces: Iterable[pa.RecordBatch], skip: int) -> Iterator[pa.RecordBatch]:
    """Yield record batches without their first `skip` rows."""
    for piece in pieces:
        if skip < piece.num_rows:
            yield piece.slice(skip)
        skip = max(0, skip - piece.num_rows)


def _rechunked(pieces: Iterable[pa.RecordBatch], size: int) -> Iterator[tuple[int, pa.Table]]:
    """Yield (rows, table) of `size` rows each from record batches of any size."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for piece in pieces:
        while rows + piece.num_rows >= size:
            yield size, pa.Table.from_batches([*held, piece.slice(0, size - rows)])
            piece, held, rows = piece.slice(size - rows), [], 0
        if piece.num_rows:
            held.append(piece)
            rows += piece.num_rows
    if rows:
        yield rows, pa.Table.from_batches(held)


def _batch(table: pa.Table, columns: Sequence[str], start: int, limits: LimitsConfig) -> Batch:
    """Return a batch of columns; rows with a value above limits.value are marked as unreadable."""
    arrays = {name: _whole(table.column(name)) for name in columns}
    large = np.zeros(table.num_rows, np.bool_)
    for array in arrays.values():
        large |= longer_than(array, limits.value)
    return Batch(start, table.num_rows, arrays, dict.fromkeys(np.flatnonzero(large).tolist(), TOO_LARGE))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, after checking that it is not damaged."""
    check_arrays(column.chunks)
    return column.combine_chunks()


@dataclass(frozen=True)
class Datasets(Columnar):
    """A `datasets.Dataset`: a folder that `save_to_disk` wrote, or `hub:NAME` (`hub:NAME:CONFIGURATION`)."""

    split: str | None = None
    limits: LimitsConfig = field(default_factory=LimitsConfig)

    def fields(self, part: Part) -> tuple[str, ...]:
        """Return the columns of the split; raises CorpusError for a repeated name."""
        names = _dataset(part.uri, self.split, self.limits).column_names
        _check_names(names, part.uri)
        return tuple(names)

    def names(self, part: Part) -> dict[str, tuple[str, ...]]:
        """Return the names of the ClassLabel features."""
        features = _dataset(part.uri, self.split, self.limits).features
        return {
            column: tuple(feature.names)
            for column, feature in features.items()
            if type(feature).__name__ == "ClassLabel" and feature.names
        }

    def batches(self, part: Part, columns: Sequence[str], size: int) -> Iterator[Batch]:
        """Yield slices of the memory-mapped table."""
        with self._table(part, columns) as data:
            for start in range(0, len(data), size):
                yield _slice(data, columns, start, min(start + size, len(data)), self.limits)

    def rows(self, part: Part, columns: Sequence[str], start: int, stop: int) -> Batch | None:
        """Return a slice of the memory-mapped table."""
        with self._table(part, columns) as data:
            return _slice(data, columns, start, min(stop, len(data)), self.limits) if start < len(data) else None

    @contextmanager
    def _table(self, part: Part, columns: Sequence[str]) -> Iterator[Any]:
        """Open the split's memory-mapped table with these columns; errors name the file."""
        with naming_file(part.uri):
            yield _dataset(part.uri, self.split, self.limits).select_columns(list(columns)).with_format("arrow")


def _slice(data: Any, columns: Sequence[str], start: int, stop: int, limits: LimitsConfig) -> Batch:
    """Return rows `start` to `stop` as a batch; raises ValueError if there are fewer."""
    table = data[start:stop]
    if table.num_rows != stop - start:
        raise ValueError(f"{stop - start:,} rows from row {start:,} on were asked for, {table.num_rows:,} came")
    return _batch(table, columns, start, limits)


def _dataset(uri: str, split: str | None, limits: LimitsConfig) -> Any:
    """Return the data set of a folder or hub name and split."""
    # Hub names and remote folders are fetched once per process; a local folder is mapped again, as it may have changed.
    if uri.startswith(HUB):
        return _chosen(_from_hub(uri, split), uri, split)
    result = _chosen(_from_folder(uri, limits) if storage.is_local(uri) else _from_remote(uri, limits), uri, split)
    if split and result.split is not None and str(result.split) != split:
        raise CorpusError(f"{uri!r} is the split {result.split}, not {split!r}", "give the other split's folder")
    return result


def _chosen(found: Any, uri: str, split: str | None) -> Any:
    """Return the requested split of a DatasetDict; raises CorpusError, listing the splits, if it is missing."""
    if not isinstance(found, dict):
        return found
    if split not in found:
        if not found:
            raise CorpusError(f"{uri!r} has no split at all", "write the folder again with save_to_disk")
        problem = f"has no split {split!r}" if split else "has several splits"
        raise CorpusError(
            f"{uri!r} {problem}; there are {', '.join(found)}", f"set split to one of them, such as {next(iter(found))}"
        )
    return found[split]


def _from_folder(uri: str, limits: LimitsConfig) -> Any:
    """Load a folder written by `save_to_disk`, after checking its files and their size."""
    import datasets  # takes a second, and only this format needs it

    with naming_file(uri, DATASETS_FOLDER_ADVICE):
        check_folder(uri)
        check_unpacked(uri, limits)
        return datasets.load_from_disk(uri)


_from_remote = lru_cache(maxsize=4)(_from_folder)


@lru_cache(maxsize=4)
def _from_hub(uri: str, split: str | None) -> Any:
    """Load a data set of the Hugging Face hub; raises CorpusError with an offline alternative."""
    import datasets

    name, _, configuration = uri.removeprefix(HUB).partition(":")
    try:
        return datasets.load_dataset(name, configuration or None, split=split)
    except Exception as error:  # every layer below (HTTP client, cache, builder) raises its own kind
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CorpusError(
            f"the hub data set {name!r} cannot be loaded here: {first}",
            "where the hub can be reached, save it once with "
            f"datasets.load_dataset({name!r}, split=...).save_to_disk(FOLDER), and give FOLDER as the path; "
            "if it can be reached, check the name, its configuration (hub:NAME:CONFIGURATION) and the split",
        ) from error
