"""JSON documents, texts and Parquet files, written atomically.

A local file is written under a temporary name and renamed, so that a reader never sees a partial file; on object stores
one PUT is already atomic and goes to the final name.
"""

from __future__ import annotations

import json
import math
import os
import posixpath
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysample.core.errors import StorageError
from raysample.core.storage.locations import check_regular, filesystem, is_local


def write_file(uri: str, write: Callable[[IO[bytes]], None], *, private: bool = False) -> None:
    """Write one file atomically; `write` receives the open binary stream. `private`: readable by its owner only."""
    fs, path = filesystem(uri)
    try:
        fs.makedirs(posixpath.dirname(path), exist_ok=True)
        if not is_local(uri):
            with fs.open(path, "wb") as stream:
                write(stream)
            return
        draft = f"{path}.tmp-{uuid.uuid4().hex[:8]}"
        try:
            with Path(draft).open("wb") as stream:
                if private:
                    os.fchmod(stream.fileno(), 0o600)
                write(stream)
                # Without fsync a crash of the machine may leave an empty file under the final name.
                stream.flush()
                os.fsync(stream.fileno())
            Path(draft).replace(path)
        finally:
            Path(draft).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write {uri!r}: {error}", "check that the place is writable and has room") from error


def write_json(uri: str, value: Any, *, private: bool = False) -> None:
    """Write a JSON document atomically; `private`: readable by its owner only."""
    data = (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    write_file(uri, lambda stream: _write_bytes(stream, data), private=private)


def write_new(uri: str, value: Any) -> bool:
    """Write a JSON document unless one exists; return whether it was written.

    Atomic on stores with conditional writes; elsewhere two writers at once may both succeed.
    """
    fs, path = filesystem(uri)
    data = (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    try:
        fs.pipe_file(path, data, mode="create")
    except FileExistsError:
        return False
    except Exception:  # noqa: BLE001 - drivers without conditional writes raise errors of many types
        if fs.exists(path):
            return False
        write_json(uri, value)
    return True


def _write_bytes(stream: IO[bytes], data: bytes) -> None:
    """Write bytes into a stream."""
    stream.write(data)


def write_text(uri: str, text: str, *, private: bool = False) -> None:
    """Write a UTF-8 text atomically; `private`: readable by its owner only."""
    write_file(uri, lambda stream: _write_bytes(stream, text.encode()), private=private)


def read_json(uri: str, *, foreign: bool = False) -> Any:
    """Read a JSON document; raises StorageError if it is missing, damaged, or not a regular file.

    `foreign`: written by another program, so NaN and infinite numbers are accepted.
    """
    data = _read_bytes(uri)
    try:
        text = data.decode("utf-8")
        if foreign:
            return json.loads(text)
        return json.loads(text, parse_constant=_no_number, parse_float=_finite, parse_int=_bounded)
    except UnicodeDecodeError as error:
        raise StorageError(
            f"{uri!r} is not UTF-8: byte 0x{data[error.start]:02x} at position {error.start:,}",
            "restore it, or delete it and run the step again",
        ) from error
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "it nests without end"
        raise StorageError(f"{uri!r} is not valid JSON: {reason}", "delete it and run the step again") from error


def _read_bytes(uri: str) -> bytes:
    """Return the content of a regular file; reading a pipe would never end."""
    check_regular(uri)
    fs, path = filesystem(uri)
    try:
        with fs.open(path, "rb") as stream:
            data: bytes = stream.read()
            return data
    except FileNotFoundError as error:
        raise StorageError(f"{uri!r} does not exist", "run the step that writes it first, or check the path") from error
    except (OSError, MemoryError) as error:
        raise StorageError(f"cannot read {uri!r}: {error}", "check that it is a file, and the rights") from error


def _no_number(word: str) -> float:
    """Refuse NaN and Infinity, which are not JSON."""
    raise ValueError(f"{word} is no number of JSON")


def _finite(text: str) -> float:
    """Parse a float; refuse one that overflows to infinity."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} has no bound")
    return value


def _bounded(text: str) -> int:
    """Parse an integer; refuse one beyond 64 bits."""
    if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
        raise ValueError(f"the number {text[:40]} is larger than any that is written")
    return int(text)


def write_parquet(uri: str, table: pa.Table) -> None:
    """Write one Parquet file (zstd) atomically."""
    write_file(uri, lambda stream: pq.write_table(table, stream, compression="zstd"))


def write_parquet_pieces(uri: str, schema: pa.Schema, pieces: Iterable[pa.Table]) -> None:
    """Write one Parquet file (zstd) atomically from tables that need not fit in memory together, one row group each."""

    def write(stream: IO[bytes]) -> None:
        """Write the tables into a stream, one row group each."""
        with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
            for piece in pieces:
                writer.write_table(piece)

    write_file(uri, write)


def read_parquet(uri: str, columns: list[str] | None = None) -> pa.Table:
    """Read one Parquet file; raises StorageError if it is missing or damaged, or lacks a column."""
    check_regular(uri)
    fs, path = filesystem(uri)
    try:
        with fs.open(path, "rb") as stream:
            table = pq.read_table(stream, columns=columns)
            table.validate(full=True)
    except FileNotFoundError as error:
        raise StorageError(f"{uri!r} does not exist", "run the step that writes it first, or check the path") from error
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError, MemoryError, OverflowError) as error:
        raise StorageError(
            f"{uri!r} is not a whole Parquet file: {error}", "delete it and run the step again"
        ) from error
    missing = [name for name in columns or () if name not in table.column_names]
    if missing:
        raise StorageError(f"{uri!r} lacks the column {missing[0]!r}", "delete it and run the step again")
    return table
