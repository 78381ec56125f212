"""Uncompressed size of the Arrow files of a `datasets` folder, whose buffers may be compressed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from raysample.core import storage
from raysample.core.config import LimitsConfig
from raysample.data.readers.dataset_folders import state_files
from raysample.data.readers.expansion import allowed, expansion_error, too_large_group

_DICTIONARY, _RECORDS = 2, 3
"""Message types that have buffers, numbered as in Arrow's Message.fbs."""


def check_unpacked(uri: str, limits: LimitsConfig) -> None:
    """Raise CorpusError if an Arrow file of a local `save_to_disk` folder unpacks to more than the limits allow.

    `datasets` decompresses all buffers of a file when it opens the file, so the check must come first.
    """
    if not storage.is_local(uri):
        return
    for path in state_files(Path(storage.absolute(uri))):
        status = path.stat()
        _check_file(str(path), status.st_size, status.st_mtime_ns, limits)


@lru_cache(maxsize=256)
def _check_file(path: str, size: int, stamp: int, limits: LimitsConfig) -> None:  # noqa: ARG001
    """Raise CorpusError for one file, once per state: the folder is opened again for every shard."""
    total = 0
    for number, unpacked in enumerate(_unpacked(path)):
        total += unpacked
        if unpacked > limits.row_group:
            raise too_large_group(path, f"record batch {number}", unpacked, limits)
        if total > allowed(size, limits):
            raise expansion_error(path, size, total, limits)


def _unpacked(path: str) -> Iterator[int]:
    """Yield the uncompressed size of every message of a file."""
    with pa.memory_map(path) as stream:
        for message in pa.ipc.MessageReader.open_stream(stream):
            if message.body is not None and message.body.size:
                yield unpacked_size(memoryview(message.metadata), memoryview(message.body))


def unpacked_size(metadata: memoryview, body: memoryview) -> int:
    """Return the uncompressed size of a message's buffers in bytes.

    A compressed buffer begins with its uncompressed size (-1: not compressed). The metadata is a flatbuffer: a table
    begins with the distance to its list of fields (Arrow's Message.fbs).
    """
    message = _number("<I", metadata, 0)
    header = _field(metadata, message, 2)
    kind = _field(metadata, message, 1)
    if header is None or kind is None:
        return len(body)
    batch: int | None = header + _number("<I", metadata, header)
    if metadata[kind] == _DICTIONARY:
        data = _field(metadata, batch or 0, 1)
        batch = None if data is None else data + _number("<I", metadata, data)
    elif metadata[kind] != _RECORDS:
        return len(body)
    if batch is None or _field(metadata, batch, 3) is None:
        return len(body)
    total = 0
    for offset, length in _buffers(metadata, batch):
        unpacked = _number("<q", body, offset) if length >= 8 else length
        total += length if unpacked < 0 else unpacked
    return total


def _buffers(metadata: memoryview, batch: int) -> Iterator[tuple[int, int]]:
    """Yield offset and length of every buffer of a record batch."""
    at = _field(metadata, batch, 2)
    if at is None:
        return
    at += _number("<I", metadata, at)
    for place in range(_number("<I", metadata, at)):
        yield struct.unpack_from("<qq", metadata, at + 4 + 16 * place)


def _field(data: memoryview, table: int, number: int) -> int | None:
    """Return the offset of a field of a flatbuffer table; None if the table lacks it."""
    fields = table - _number("<i", data, table)
    if 4 + 2 * number >= _number("<H", data, fields):
        return None
    distance = _number("<H", data, fields + 4 + 2 * number)
    return table + distance if distance else None


def _number(form: str, data: memoryview, at: int) -> int:
    """Return the number at an offset; raises ValueError for a negative offset, struct.error beyond the end."""
    if at < 0:
        raise ValueError("its metadata leads out of the file")
    result: int = struct.unpack_from(form, data, at)[0]
    return result
