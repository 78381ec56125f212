"""Physical lines of a file with their byte offsets; lines above the limit are skipped and never held in memory.

`pyarrow.csv` and `pyarrow.json` cannot replace these readers. `pyarrow.json` stops at the first bad line and reports
only its row within a block. `pyarrow.csv` reports rows with another number of columns, but lets a stray quote swallow
the lines after it. Neither returns the byte offset of a row, by which a shard is found again. The lines read here are
checked instead: records, blank lines and the header must cover all lines of the file (`records.Account`).
"""

from __future__ import annotations

from collections.abc import Iterator

from raysample.data.readers.streams import Unpacked

_SKIP = 1 << 20

TextLine = tuple[bytes | None, int]
"""A line with its line end, None if longer than allowed; and its byte offset."""


class PhysicalLines:
    """The lines of a stream, separated by line feeds.

    Attributes:
        count: number of lines yielded so far.
        odd: whether the last line above the limit has an odd number of double quotes.
    """

    def __init__(self, stream: Unpacked, limit: int) -> None:
        self._stream, self._limit = stream, limit
        self._offset = 0
        self.count = 0
        self.odd = False

    def skip_to(self, offset: int) -> None:
        """Continue with the line that begins at a byte offset."""
        self._stream.skip_to(offset, self._offset)
        self._offset = offset

    def __iter__(self) -> Iterator[TextLine]:
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
        """Skip the rest of a long line, counting its quotes."""
        quotes = line.count(b'"')
        while not line.endswith(b"\n") and (line := self._stream.buffer.readline(_SKIP)):
            self._offset += len(line)
            quotes += line.count(b'"')
        self.odd = quotes % 2 == 1
