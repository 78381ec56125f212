"""What the Arrow files of a `datasets` folder come to in memory: their buffers may be compressed."""

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
"""Kinds of messages that have buffers, as Arrow's Message.fbs numbers them."""


def check_unpacked(uri: str, limits: LimitsConfig) -> None:
    """Raise CorpusError if an Arrow file of a local `save_to_disk` folder unpacks to more than the limits allow.

    `datasets` unpacks all compressed buffers of a file when it opens it.
    """
    if not storage.is_local(uri):
        return
    for path in state_files(Path(storage.absolute(uri))):
        told = path.stat()
        _check_file(str(path), told.st_size, told.st_mtime_ns, limits)


@lru_cache(maxsize=256)
def _check_file(path: str, size: int, stamp: int, limits: LimitsConfig) -> None:  # noqa: ARG001
    # the folder is opened for every shard; a file that did not change is walked through once
    total = 0
    for number, unpacked in enumerate(_unpacked(path)):
        total += unpacked
        if unpacked > limits.row_group:
            raise too_large_group(path, f"record batch {number}", unpacked, limits)
        if total > allowed(size, limits):
            raise expansion_error(path, size, total, limits)


def _unpacked(path: str) -> Iterator[int]:
    with pa.memory_map(path) as stream:
        for message in pa.ipc.MessageReader.open_stream(stream):
            if message.body is not None and message.body.size:
                yield unpacked_size(memoryview(message.metadata), memoryview(message.body))


def unpacked_size(metadata: memoryview, body: memoryview) -> int:
    """Return the bytes of a message's buffers, unpacked; a compressed one begins with that number (-1: it is plain).

    The metadata is a flatbuffer: a table begins with the distance to its list of fields (Arrow's Message.fbs).
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
        told = _number("<q", body, offset) if length >= 8 else length
        total += length if told < 0 else told
    return total


def _buffers(metadata: memoryview, batch: int) -> Iterator[tuple[int, int]]:
    at = _field(metadata, batch, 2)
    if at is None:
        return
    at += _number("<I", metadata, at)
    for place in range(_number("<I", metadata, at)):
        yield struct.unpack_from("<qq", metadata, at + 4 + 16 * place)


def _field(data: memoryview, table: int, number: int) -> int | None:
    """Return where a field of a table lies; None if the table lacks it."""
    fields = table - _number("<i", data, table)
    if 4 + 2 * number >= _number("<H", data, fields):
        return None
    distance = _number("<H", data, fields + 4 + 2 * number)
    return table + distance if distance else None


def _number(form: str, data: memoryview, at: int) -> int:
    if at < 0:
        raise ValueError("its metadata leads out of the file")
    found: int = struct.unpack_from(form, data, at)[0]
    return found
