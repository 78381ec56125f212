"""Encodings of line formats: UTF-8 with or without byte order mark; other encodings are refused by name."""

from __future__ import annotations

import codecs
import re

from raysample.core.errors import CorpusError
from raysample.data.readers.streams import Unpacked

UTF8_BOM = codecs.BOM_UTF8
# UTF-32 first: its little-endian mark begins like that of UTF-16.
_MARKS = {
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_LOOKED_AT = 4096


def check_encoding(stream: Unpacked) -> None:
    """Raise CorpusError if the beginning of a file shows that it does not hold lines of UTF-8."""
    head = stream.head
    encoding = next((name for name, marks in _MARKS.items() if head.startswith(marks)), None)
    first = head[:_LOOKED_AT]
    if encoding is None and first.count(0) * 8 > len(first):
        encoding = "UTF-16 without a byte order mark, or no text at all"
    if encoding is not None:
        raise CorpusError(
            f"{stream.uri!r} is in {encoding}; line formats are read in UTF-8",
            "convert it (iconv -f UTF-16 -t UTF-8), or leave it out of the folder",
        )
    if b"\r" in head[:-1] and b"\n" not in head:
        raise CorpusError(
            f"the lines of {stream.uri!r} end with carriage returns alone",
            "let them end with line feeds (tr '\\r' '\\n'), or leave the file out of the folder",
        )


def may_hold_surrogates(line: bytes) -> bool:
    """Return whether JSON may contain an escaped half of a surrogate pair, which UTF-8 cannot encode."""
    return _SURROGATE.search(line) is not None


def decoded(line: bytes) -> str | None:
    """Return a line as text, None if it is not UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None


def is_sound(text: str) -> bool:
    """Return whether text that was decoded with `surrogateescape`, or comes from JSON, is valid Unicode."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
