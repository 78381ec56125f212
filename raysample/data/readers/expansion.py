"""Upper bound of a Parquet file's size in memory, from its footer and dictionaries, before rows are decoded.

A file of a kilobyte may decode to 64 GiB: one long dictionary value with a run of indices, or a run of numbers.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raysample.core.config import LimitsConfig
from raysample.core.errors import CorpusError
from raysample.data.readers.streams import FREE_BYTES

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8}
_OFFSET = 4
_BATCH = 1 << 14
_DICTIONARY_PAGE = 2


@dataclass(frozen=True)
class _Chunk:
    """One column of one row group, with an upper bound of its decoded size in bytes."""

    group: int
    path: str
    bound: int


def check_expansion(
    stream: IO[bytes], file: pq.ParquetFile, uri: str, columns: Sequence[str], limits: LimitsConfig
) -> None:
    """Raise CorpusError, naming file and configuration key, if requested columns unpack to more than the limits allow.

    The bound comes from the footer and the longest value of each dictionary. Only if it exceeds the limits are the
    lengths of all values added up, by dictionary index, which takes little memory.

    Args:
        stream: seekable stream of the file.
        file: the Parquet file opened from it.
        uri: address of the file.
        columns: the columns to be read.
        limits: maximum sizes.

    Raises:
        ValueError: the footer contradicts the file or itself.
    """
    size = stream.seek(0, io.SEEK_END)
    _check_footer(file.metadata, size)
    most = allowed(size, limits)
    chunks = _chunks(stream, file, set(columns), min(limits.row_group, most))
    total = 0
    for group in range(file.metadata.num_row_groups):
        here = sum(chunk.bound for chunk in chunks if chunk.group == group)
        if here > limits.row_group:
            raise too_large_group(uri, f"row group {group}", here, limits)
        total += here
    if total > most:
        raise expansion_error(uri, size, total, limits)


def allowed(size: int, limits: LimitsConfig) -> float:
    """Return the number of bytes that a file of `size` bytes may unpack to."""
    return min(limits.unpacked, max(FREE_BYTES, limits.expansion * size))


def expansion_error(uri: str, size: int, total: int, limits: LimitsConfig) -> CorpusError:
    """Return the error for a file of `size` bytes that unpacks to more than allowed."""
    key = "unpacked" if total > limits.unpacked else "expansion"
    return _refused(uri, f"the file, of {size:,} bytes,", total, key, limits)


def too_large_group(uri: str, what: str, total: int, limits: LimitsConfig) -> CorpusError:
    """Return the error for a row group or record batch that unpacks to more than allowed."""
    return _refused(uri, what, total, "row_group", limits)


def _refused(uri: str, what: str, total: int, key: str, limits: LimitsConfig) -> CorpusError:
    """Return an error that names the limit to raise."""
    return CorpusError(
        f"{uri!r} cannot be read: {what} unpacks to {total:,} bytes, more than limits.{key}="
        f"{getattr(limits, key):,} allows",
        f"leave it out of the folder, or raise limits.{key} if it is meant to be so large",
    )


def _check_footer(metadata: Any, size: int) -> None:
    """Raise ValueError for a footer with pages outside the file or contradictory counts."""
    rows = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        rows += group.num_rows
        for chunk in map(group.column, range(group.num_columns)):
            first = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
            if min(group.num_rows, chunk.num_values, chunk.total_uncompressed_size, chunk.total_compressed_size) < 0:
                raise ValueError(f"its footer has negative counts for {chunk.path_in_schema!r}")
            if not 0 <= first <= first + chunk.total_compressed_size <= size:
                raise ValueError(f"its footer says that pages of {chunk.path_in_schema!r} lie outside the file")
    if rows != metadata.num_rows:
        raise ValueError(f"its footer promises {metadata.num_rows:,} rows and {rows:,} in row groups")


def _chunks(stream: IO[bytes], file: pq.ParquetFile, columns: set[str], most: float) -> list[_Chunk]:
    """Return the requested columns of each row group with a bound of their size, exact if the bound is too large."""
    result = []
    dictionaries = _Dictionaries(stream, file)
    for group in range(file.metadata.num_row_groups):
        metadata = file.metadata.row_group(group)
        for at in range(metadata.num_columns):
            chunk = metadata.column(at)
            if chunk.path_in_schema.split(".")[0] in columns or chunk.path_in_schema in columns:
                result.append(_Chunk(group, chunk.path_in_schema, _bytes(dictionaries, group, at, chunk, most)))
    return result


def _bytes(dictionaries: _Dictionaries, group: int, at: int, chunk: Any, most: float) -> int:
    """Return the decoded size of a column chunk: exact for fixed-width values, else a bound or a count."""
    width = _WIDTHS.get(chunk.physical_type)
    if width is None and chunk.physical_type == "FIXED_LEN_BYTE_ARRAY":
        width = dictionaries.file.schema.column(at).length
    if width is not None:
        return int(chunk.num_values * width)
    plain = int(chunk.total_uncompressed_size + chunk.num_values * _OFFSET)
    # Cheapest bound first: as if every value were as long as the whole dictionary.
    dictionary = dictionaries.size(chunk)
    if dictionary is None or plain + chunk.num_values * chunk.total_uncompressed_size <= most:
        return plain
    longest = dictionaries.longest(group, chunk.path_in_schema, dictionary)
    bound = None if longest is None else plain + chunk.num_values * longest
    return bound if bound is not None and bound <= most else dictionaries.total(group, chunk.path_in_schema)


class _Dictionaries:
    """Reads byte arrays as dictionary indices, so that a repeated value is in memory once."""

    def __init__(self, stream: IO[bytes], file: pq.ParquetFile) -> None:
        self.stream, self.file = stream, file
        names = [file.schema.column(at).path for at in range(len(file.schema.names))]
        self._coded = pq.ParquetFile(stream, metadata=file.metadata, read_dictionary=names)

    def size(self, chunk: Any) -> int | None:
        """Return the uncompressed size of a chunk's dictionary; None if the first page is no dictionary."""
        first = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
        self.stream.seek(first)
        return dictionary_size(self.stream.read(32))

    def longest(self, group: int, path: str, size: int) -> int | None:
        """Return the length of the longest dictionary value; None if pyarrow's dictionary does not have that size."""
        pieces = self._coded.iter_batches(1, row_groups=[group], columns=[path], use_threads=False)
        leaf = next((leaf for piece in pieces for leaf in _leaves(piece.column(0))), None)
        lengths = None if leaf is None else _lengths(leaf.dictionary)
        if lengths is None or int(pc.sum(lengths).as_py() or 0) + _OFFSET * len(lengths) != size:
            return None
        return int(pc.max(lengths).as_py() or 0)

    def total(self, group: int, path: str) -> int:
        """Return the decoded size of a column in a row group, in bytes."""
        total = 0
        for piece in self._coded.iter_batches(_BATCH, row_groups=[group], columns=[path], use_threads=False):
            for leaf in _leaves(piece.column(0)):
                lengths = _lengths(leaf.dictionary).take(leaf.indices)
                total += int(pc.sum(lengths).as_py() or 0) + len(leaf) * _OFFSET
        return total


def dictionary_size(header: bytes) -> int | None:
    """Return the uncompressed size in a page header (Thrift compact protocol); None unless it is a dictionary page.

    Field 1 is the type of the page (2: dictionary), field 2 the size; both are 32-bit integers.
    """
    values, at = [], 0
    for _ in range(2):
        if header[at : at + 1] != b"\x15":  # the next field, an i32
            return None
        at, value, shift = at + 1, 0, 0
        while at < len(header):
            value |= (header[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if not header[at - 1] & 0x80:
                break
        values.append((value >> 1) ^ -(value & 1))
    return values[1] if values[0] == _DICTIONARY_PAGE else None


def _lengths(values: pa.Array) -> pa.Array:
    """Return the lengths of values in bytes, [n] int64."""
    return pc.binary_length(values).cast(pa.int64())


def _leaves(array: pa.Array) -> Iterator[pa.DictionaryArray]:
    """Yield the dictionary arrays of a column, which may be nested."""
    if pa.types.is_dictionary(array.type):
        yield array
    elif pa.types.is_struct(array.type):
        for inner in array.flatten():
            yield from _leaves(inner)
    elif pa.types.is_map(array.type):
        yield from _leaves(array.keys)
        yield from _leaves(array.items)
    elif pa.types.is_nested(array.type):
        yield from _leaves(array.flatten())
