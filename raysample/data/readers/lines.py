"""Physical lines of a file, counted, each with the byte at which it begins; none is held that is longer than allowed.

Neither `pyarrow.csv` nor `pyarrow.json` can take the place of these readers. `pyarrow.json` ends at the first bad line,
and says where only as a row of a block. `pyarrow.csv` hands over rows with another number of columns, with their number
if it reads in one thread, but lets a stray quote swallow the lines behind it. And neither tells the byte at which a row
begins, by which a shard is found again. What is read here is checked instead: the lines that records, blank lines and
the header cover must be all lines there are (`records.Account`).
"""

from __future__ import annotations

from collections.abc import Iterator

from raysample.data.readers.streams import Unpacked

_SKIP = 1 << 20

Line = tuple[bytes | None, int]
"""A line with its end, None for one that is longer than allowed; and the byte at which it begins."""


class PhysicalLines:
    """The lines of a stream, which end with a line feed.

    Attributes:
        count: lines handed out so far. odd: whether the last line that was too long has an odd number of double quotes.
    """

    def __init__(self, stream: Unpacked, limit: int) -> None:
        self._stream, self._limit = stream, limit
        self._offset = 0
        self.count = 0
        self.odd = False

    def skip_to(self, offset: int) -> None:
        """Go on with the line that begins at a byte."""
        self._stream.skip_to(offset, self._offset)
        self._offset = offset

    def __iter__(self) -> Iterator[Line]:
        limit = self._limit
        while line := self._stream.buffer.readline(limit + 1):
            begin = self._offset
            self._offset += len(line)
            self.count += 1
            if len(line) <= limit:
                yield line, begin
            else:
                self._pass(line)
                yield None, begin

    def _pass(self, line: bytes) -> None:
        quotes = line.count(b'"')
        while not line.endswith(b"\n") and (line := self._stream.buffer.readline(_SKIP)):
            self._offset += len(line)
            quotes += line.count(b'"')
        self.odd = quotes % 2 == 1
