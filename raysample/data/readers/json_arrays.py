"""Streams the elements of one JSON array with their positions; the array is never in memory as a whole.

`pyarrow.json` reads no arrays, and `json` only complete ones. Only commas may stand between elements: if brackets or
quotes of an element are damaged, the beginning of the next one is unknown, so the file is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from raysample.core.errors import CorpusError
from raysample.data.readers.encodings import UTF8_BOM
from raysample.data.readers.streams import Unpacked

_CHUNK = 1 << 20
_BEGIN = re.compile(rb"(?:\xef\xbb\xbf)?\s*+\[\s*+([{\]]|\Z)(\s*+\Z)?")
_BLANK = re.compile(rb"\s*+")
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FLAT = re.compile(rb'\{(?:[^"{}\[\]]*+' + _STRING + rb')*+[^"{}\[\]]*+\}', re.DOTALL)
"""A flat object without nested objects or arrays: matches most elements in one step."""
_MARK = re.compile(_STRING + rb'|["{}\[\]]', re.DOTALL)
_SCALAR = re.compile(rb'[^\s,\[\]{}"]++')

Element = tuple[bytes, int, int]
"""An element, the byte at which it begins, and the number of its line."""


def begins(head: bytes) -> bool:
    """Return whether a file with this beginning is an array of objects: `[` followed by `{`, or exactly `[]`.

    JSON lines with one list per line also begin with `[`; they are broken rows, not an array of objects.
    """
    found = _BEGIN.match(head)
    return found is not None and (found[1] == b"{" or found[2] is not None)


class Array:
    """Reads the elements of the array that a stream holds.

    Attributes:
        expected: number of elements by the count of commas, once the end is reached.
    """

    def __init__(self, stream: Unpacked, limit: int) -> None:
        self._stream, self._limit = stream, limit
        self._held, self._base, self._line = b"", 0, 1
        self.expected = 0

    def elements(self, offset: int = 0) -> Iterator[Element]:
        """Yield the elements from the one on that begins at byte `offset` (0: all of them).

        Raises:
            CorpusError: the array ends too early, data follows its end, anything but a comma separates its elements,
                or an element is longer than the limit.
        """
        # Positions are relative to the buffer, which moves: `_base` + position is the byte offset in the file.
        place = self._opened() if offset == 0 else self._skipped(offset)
        if offset == 0 and self._sign(place := self._past_blanks(place)) == b"]":
            self._check_end(place + 1)
            return
        while True:
            place = self._past_blanks(place)
            end = self._end(place)
            yield self._held[place:end], self._base + place, self._line
            self.expected += 1
            self._line += self._held.count(b"\n", place, end)
            place = self._past_blanks(end)
            sign = self._sign(place)
            if sign == b"]":
                self._check_end(place + 1)
                return
            if sign != b",":
                self._damaged(f"{sign!r} stands behind an element, not a comma" if sign else "it ends too early")
            place = self._dropped(place + 1)

    def _opened(self) -> int:
        """Read the beginning; return the position after the opening bracket."""
        self._more()
        place = self._past_blanks(len(UTF8_BOM) if self._stream.head.startswith(UTF8_BOM) else 0)
        return place + 1

    def _skipped(self, offset: int) -> int:
        """Continue at a byte offset, at which an element begins."""
        self._stream.skip_to(offset)
        self._base = offset
        return 0

    def _more(self) -> bool:
        """Read more bytes; return whether there were any."""
        # The buffer doubles, so that a long element is scanned a logarithmic number of times.
        piece = self._stream.buffer.read(max(_CHUNK, len(self._held)))
        self._held += piece
        return bool(piece)

    def _dropped(self, place: int) -> int:
        """Drop the buffer before a position if it is large; return the position in the new buffer."""
        if place < _CHUNK:
            return place
        self._held, self._base = self._held[place:], self._base + place
        return 0

    def _sign(self, place: int) -> bytes:
        """Return the byte at a position, reading more if necessary; empty at the end of the file."""
        while place >= len(self._held) and self._more():
            pass
        return self._held[place : place + 1]

    def _past_blanks(self, place: int) -> int:
        """Return the position after whitespace; counts lines."""
        while True:
            found = _BLANK.match(self._held, place)
            end = place if found is None else found.end()
            self._line += self._held.count(b"\n", place, end)
            if end < len(self._held):
                return end
            self._held, self._base, place = b"", self._base + end, 0
            if not self._more():
                return 0

    def _end(self, place: int) -> int:
        """Return the end of the element that begins at a position; raises CorpusError if it is too long or cut off."""
        while True:
            end = _element_end(self._held, place)
            if (len(self._held) if end is None else end) - place > self._limit:
                raise CorpusError(
                    f"an element of the JSON array {self._stream.uri!r} in line {self._line} is longer than "
                    f"{self._limit:,} bytes, the most that limits.line allows",
                    "mend the file, leave it out of the folder, or raise limits.line",
                )
            if end is not None:
                return end
            if not self._more():
                self._damaged("it ends inside an element")

    def _check_end(self, place: int) -> None:
        """Raise CorpusError if data follows the closing bracket."""
        if self._sign(place := self._past_blanks(place)):
            self._damaged("it goes on after its end")

    def _damaged(self, how: str) -> None:
        """Raise CorpusError for a damaged array, with the line number."""
        raise CorpusError(
            f"{self._stream.uri!r} is no whole JSON array: {how}, in line {self._line}",
            "copy or write it again, or leave it out of the folder",
        )


def _element_end(held: bytes, place: int) -> int | None:
    """Return the end of the element that begins at a position; None if the buffer ends before it."""
    # A flat object needs one regular expression; others need a scan of their brackets and strings.
    flat = _FLAT.match(held, place)
    if flat is not None:
        return flat.end()
    first = held[place : place + 1]
    if first not in (b"{", b"[", b'"'):
        found = _SCALAR.match(held, place)
        end = place + 1 if found is None else found.end()
        return end if end < len(held) else None
    depth = 0
    for mark in _MARK.finditer(held, place):
        sign = mark.group()
        if sign == b'"':  # a string that the buffer cuts off
            return None
        depth += (sign in (b"{", b"[")) - (sign in (b"}", b"]"))
        if depth == 0:
            return mark.end()
    return None
