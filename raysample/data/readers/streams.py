"""Files of line formats as streams of decompressed bytes; compression is detected by magic bytes, not suffixes.

fsspec's `compression="infer"` is not used because it does not report which file is cut off or damaged (it raises the
codec's error, and takes garbage after a bzip2 or xz stream for its end), whether a suffix is wrong, and when a file
unpacks to more than the limits.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import IO, Any

import pyarrow as pa

from raysample.core import storage
from raysample.core.config import LimitsConfig
from raysample.core.errors import CorpusError

HEAD = 1 << 16
"""Number of decompressed bytes that are inspected to detect the content of a file."""
FREE_BYTES = 256 << 20
"""Decompressed size that is allowed for any file, whatever its compressed size."""
_CHUNK = 1 << 18

_MAGIC = {
    "gzip": (b"\x1f\x8b",),
    "bzip2": (b"BZh",),
    "zstd": (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + i]) + b"\x2a\x4d\x18" for i in range(16))),
    "xz": (b"\xfd7zXZ\x00",),
}
_SUFFIXES = {
    "gzip": (".gz", ".gzip"),
    "bzip2": (".bz2",),
    "zstd": (".zst", ".zstd"),
    "xz": (".xz",),
}
_FOREIGN = {
    "a Parquet file": b"PAR1\x15",
    "an Arrow file": b"ARROW1\x00",
    "an Avro file": b"Obj\x01",
    "a zip archive": b"PK\x03\x04",
    "a 7z archive": b"7z\xbc\xaf\x27\x1c",
    "an lz4 stream": b"\x04\x22\x4d\x18",
    "a snappy stream": b"\xff\x06\x00\x00sNaPpY",
    "an SQLite database": b"SQLite format 3\x00",
    "a PDF file": b"%PDF-",
}
_UNPACKERS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ),
}


class Unpacked:
    """The decompressed bytes of an open file, from the beginning or from an offset on.

    Attributes:
        uri: the file.
        head: its first `HEAD` decompressed bytes.
        buffer: the stream; replaced by `skip_to` for files without compression.
    """

    def __init__(self, uri: str, file: IO[bytes], size: int, limits: LimitsConfig) -> None:
        self.uri, self._file = uri, file
        self.kind = _kind_of(uri, file)
        pieces = iter(lambda: file.read(_CHUNK), b"") if self.kind is None else _bounded(self, size, limits)
        self.buffer = io.BufferedReader(_Raw(self, pieces), _CHUNK)
        self.head = self.buffer.peek(HEAD)[:HEAD]

    def skip_to(self, offset: int, position: int = 0) -> None:
        """Move to byte `offset`; `position` bytes were read so far. Compressed streams can only move forward."""
        if self.kind is None:
            self._file.seek(offset)
            self.buffer = io.BufferedReader(_Raw(self, iter(lambda: self._file.read(_CHUNK), b"")), _CHUNK)
            return
        while position < offset and (passed := len(self.buffer.read(min(_CHUNK, offset - position)))):
            position += passed

    def pieces(self) -> Iterator[bytes]:
        """Yield a compressed file's content in small pieces."""
        if self.kind == "zstd":
            stream = pa.CompressedInputStream(pa.PythonFile(self._file, mode="r"), "zstd")
            yield from iter(lambda: stream.read(_CHUNK), b"")
        elif self.kind is not None:
            yield from _members(self._file, _UNPACKERS[self.kind], _MAGIC[self.kind])

    def broken(self, error: Exception) -> CorpusError:
        """Return a CorpusError that names the file for an error of the codec or the file."""
        what = "file" if self.kind is None else f"{self.kind} stream"
        return CorpusError(
            f"{self.uri!r} is not a whole {what}: {error or type(error).__name__}",
            "copy or write it again, or leave it out of the folder",
        )


@contextmanager
def open_stream(uri: str, limits: LimitsConfig) -> Iterator[Unpacked]:
    """Open a file of a line format for reading.

    Raises:
        CorpusError: the file cannot be opened, its suffix names another compression than its content has, or its
            format has no lines; during reading also: it is cut off or damaged, or unpacks to more than allowed.
    """
    fs, path = storage.filesystem(uri)
    try:
        size, file = fs.size(path), fs.open(path, "rb")
    except OSError as error:
        raise CorpusError(f"{uri!r} cannot be opened: {error}", "check that it is there and may be read") from error
    with file:
        yield Unpacked(uri, file, size or 0, limits)


class _Raw(io.RawIOBase):
    """Pieces of bytes as a raw stream; fills the whole buffer, so that a peek returns a complete head."""

    def __init__(self, owner: Unpacked, pieces: Iterator[bytes]) -> None:
        self._owner, self._pieces, self._rest = owner, pieces, memoryview(b"")

    def readable(self) -> bool:
        """Return True, as `io.RawIOBase` asks for."""
        return True

    def readinto(self, target: Any) -> int:
        """Fill a writable buffer with the next bytes; return their number, fewer than its length only at the end."""
        filled = 0
        while filled < len(target):
            if not self._rest:
                self._rest = memoryview(self._next())
                if not self._rest:
                    break
            count = min(len(target) - filled, len(self._rest))
            target[filled : filled + count] = self._rest[:count]
            self._rest, filled = self._rest[count:], filled + count
        return filled

    def _next(self) -> bytes:
        """Return the next piece, empty at the end; errors name the file."""
        try:
            return next(self._pieces, b"")
        except (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
            raise self._owner.broken(error) from error


def _kind_of(uri: str, file: IO[bytes]) -> str | None:
    """Return the compression of an open file, None for none; raises CorpusError for formats without lines."""
    first = file.read(16)
    file.seek(0)
    kind = next((kind for kind, magic in _MAGIC.items() if first.startswith(magic)), None)
    if kind == "bzip2" and not (first[3:4].isdigit() and first[4:10] in (b"1AY&SY", b"\x17rE8P\x90", b"")):
        kind = None
    named = next((kind for kind, suffixes in _SUFFIXES.items() if uri.lower().endswith(suffixes)), None)
    if named is not None and kind is None:
        raise CorpusError(
            f"{uri!r} is named as {named}, but {'has no byte' if not first else 'does not begin as one'}",
            "give it the suffix of what it holds, copy it again, or leave it out of the folder",
        )
    foreign = next((what for what, magic in _FOREIGN.items() if first.startswith(magic)), None)
    if foreign is not None:
        raise CorpusError(
            f"{uri!r} is {foreign}, not a file of lines",
            "give it the suffix of what it holds, or unpack it, or leave it out of the folder",
        )
    return kind


def _bounded(owner: Unpacked, size: int, limits: LimitsConfig) -> Iterator[bytes]:
    """Yield decompressed pieces; raises CorpusError once they exceed the limits."""
    total, most = 0, min(limits.unpacked, max(FREE_BYTES, limits.expansion * size))
    for piece in owner.pieces():
        total += len(piece)
        if total > most:
            key = "unpacked" if most == limits.unpacked else "expansion"
            raise CorpusError(
                f"{owner.uri!r} has {size:,} bytes and unpacks to more than {most:,.0f}, the most that "
                f"limits.{key}={getattr(limits, key):,} allows",
                f"leave it out of the folder, or raise limits.{key} if it is meant to be so large",
            )
        yield piece


def _members(file: IO[bytes], unpacker_of: Callable[[], Any], magic: tuple[bytes, ...]) -> Iterator[bytes]:
    """Yield decompressed pieces of a gzip, bzip2 or xz file: one or more streams, with zero padding between them."""
    packed = file.read(_CHUNK)
    while packed:
        packed += file.read(_CHUNK) if len(packed) < 16 else b""
        if not packed.startswith(magic):
            raise ValueError("behind the end of the stream follows something else")
        packed = yield from _member(file, unpacker_of(), packed)
        packed = _past_zeros(file, packed)


def _member(file: IO[bytes], unpacker: Any, packed: bytes) -> Generator[bytes, None, bytes]:
    """Yield decompressed pieces of one stream; return the bytes that were read after its end."""
    while True:
        piece = unpacker.decompress(packed, _CHUNK)
        if piece:
            yield piece
        if unpacker.eof:
            behind: bytes = unpacker.unused_data
            return behind
        # zlib returns unread input in `unconsumed_tail`, bz2 and lzma keep it and report `needs_input`.
        packed = getattr(unpacker, "unconsumed_tail", b"")
        if not packed and getattr(unpacker, "needs_input", True):
            packed = file.read(_CHUNK)
            if not packed and not piece:
                raise EOFError("it ends before its end mark")


def _past_zeros(file: IO[bytes], packed: bytes) -> bytes:
    """Return the bytes after zero padding; empty at the end of the file."""
    while not (packed := packed.lstrip(b"\0")):
        if not (packed := file.read(_CHUNK)):
            return b""
    return packed
