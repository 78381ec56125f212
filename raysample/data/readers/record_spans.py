"""Physical lines -> texts of records, which may span several lines with quotes or escaped line ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from raysample.core.config import LimitsConfig
from raysample.core.errors import CorpusError
from raysample.data.readers.lines import PhysicalLines
from raysample.data.readers.quotes import Grammar, State
from raysample.data.readers.records import Account
from raysample.data.schema import BAD_BYTES, BAD_QUOTE, BEHIND_QUOTE, FINE, LONG_LINE, ROWS_IN_QUOTE

BOM_CHARACTER = "\ufeff"

_EVIDENCE = 4
"""Number of delimiters in matching positions from which on quoted lines count as rows joined by a stray quote."""


Span = tuple[str | None, int, int, int, int, bool]
"""Text of one record without its last line end, or None and the reason; the other fields as in `records.LineRecord`."""


class _Line(NamedTuple):
    """A line including lines joined to it by escaped line feeds; text None if too long."""

    text: str | None
    code: int
    offset: int
    number: int
    lines: int

    @property
    def content(self) -> str:
        """The text without its line end; empty if too long."""
        return "" if self.text is None else self.text.rstrip("\r\n")


class Spans:
    """Cuts the lines of a file into the texts of records.

    Attributes:
        width: number of fields per record; None before the header is known.
    """

    def __init__(
        self, uri: str, lines: PhysicalLines, grammar: Grammar, limits: LimitsConfig, account: Account
    ) -> None:
        self._uri, self._lines, self._grammar, self._limits = uri, lines, grammar, limits
        self._account, self._each = account, iter(lines)
        self.width: int | None = None

    def __iter__(self) -> Iterator[Span]:
        lines, quoting, escaped = self._lines, self._grammar.quoting, self._grammar.escape is not None
        closed = self._grammar.closed.fullmatch
        # Fast path first: most lines have no quotes, or quotes that close within the line.
        for raw, offset in self._each:
            if raw is None or escaped:
                yield from self._odd(self._joined(raw, offset))
                continue
            try:
                text, code = raw.decode(), FINE
            except UnicodeDecodeError:
                text, code = raw.decode("utf-8", "surrogateescape"), BAD_BYTES
            content = (text if offset else text.removeprefix(BOM_CHARACTER)).rstrip("\r\n")
            if not content:
                self._account.other += 1
            elif not quoting or '"' not in content or closed(content):
                yield content, code, offset, lines.count, 1, True
            else:
                yield from self._odd(self._joined(raw, offset))

    def _odd(self, line: _Line) -> Iterator[Span]:
        """Yield the records that begin with a line that has quotes or escapes, or is too long."""
        quoting = self._grammar.quoting
        if line.text is None:
            if quoting and self._lines.odd:
                yield from self._region(line, State.BROKEN)
            else:
                yield None, line.code, line.offset, line.number, line.lines, True
            return
        state = self._grammar.first(line.content) if quoting else State.CLOSED
        if state is not State.CLOSED:
            yield from self._region(line, state)
        elif line.content:
            yield line.content, line.code, line.offset, line.number, line.lines, True
        else:
            self._account.other += line.lines

    def _next(self) -> _Line | None:
        """Return the next line, None at the end."""
        found = next(self._each, None)
        return None if found is None else self._joined(*found)

    def _joined(self, raw: bytes | None, offset: int) -> _Line:
        """Return a line joined with the lines after it while line feeds are escaped."""
        number, escape = self._lines.count, self._grammar.escape
        line = _decoded(raw, offset, number)
        if escape is None or line.text is None or not _escaped_end(line.text, escape):
            return line
        texts, size, code = [line.text], len(line.text), line.code
        while _escaped_end(texts[-1], escape) and (found := next(self._each, None)) is not None:
            more = _decoded(*found, number)
            size += len(more.text or "")
            if more.text is None or size > self._limits.line:
                texts, code = [more.text or ""], LONG_LINE
            else:
                texts.append(more.text)
                code = code or more.code
        lines = 1 + self._lines.count - number
        return _Line(None if code == LONG_LINE else "".join(texts), code, offset, number, lines)

    def _region(self, line: _Line, state: State) -> Iterator[Span]:
        """Yield the record that begins with a line with an open quote, or its lines as unreadable.

        A broken quote ends at the next line with which the number of quotes becomes even: from there the file is
        readable again. Lines are held until then, without their texts once they exceed the limit.
        """
        grammar, held, size = self._grammar, [line], len(line.text or "")
        odd = self._lines.odd if line.text is None else grammar.odd(line.text)
        whole = line.text is not None
        # An open quote continues until it closes. A broken one has no well-defined end: skip lines until the number of
        # quotes is even again, which is the first point where a new record may begin.
        while state is State.OPEN or (state is State.BROKEN and odd):
            found = self._next()
            if found is None:
                state = State.BROKEN
                break
            if found.number - line.number >= self._limits.quoted_lines:
                raise self._endless(line)
            odd ^= self._lines.odd if found.text is None else grammar.odd(found.text)
            if state is State.OPEN:
                state = State.BROKEN if found.text is None else grammar.next(found.content)
            size += len(found.text or "")
            # Beyond the limit keep positions only, so that memory stays bounded.
            if whole and size > self._limits.line:
                held, whole = [_Line(None, *each[1:]) if each.content else each for each in held], False
            held.append(found if whole or not found.content else _Line(None, *found[1:]))
        if state is State.CLOSED:
            yield from self._closed(held, whole)
        else:
            yield from self._apart(held, BAD_QUOTE, BEHIND_QUOTE)

    def _closed(self, held: list[_Line], whole: bool) -> Iterator[Span]:
        """Yield a record whose quotes are closed; refuse lines that look like rows joined by stray quotes."""
        first, lines = held[0], sum(line.lines for line in held)
        if not whole:
            yield None, LONG_LINE, first.offset, first.number, lines, True
        elif self._look_like_rows(held):
            yield from self._apart(held, ROWS_IN_QUOTE, ROWS_IN_QUOTE)
        else:
            text = "".join(line.text or "" for line in held).rstrip("\r\n")
            code = next((line.code for line in held if line.code), FINE)
            yield text, code, first.offset, first.number, lines, True

    def _look_like_rows(self, held: list[_Line]) -> bool:
        """Return whether each of the lines would be a row if quotes were ordinary characters.

        If one text begins with a stray quote and a later one ends with one, everything in between is one field by the
        rules of CSV. In running text a delimiter is followed by a space, so such lines do not count as rows.
        """
        width = self.width
        if width is None or (len(held) - 1) * (width - 1) < _EVIDENCE:
            return False
        for line in held:
            fields = line.content.split(self._grammar.delimiter)
            if len(fields) != width or any(field[:1].isspace() for field in fields[1:]):
                return False
        return True

    def _apart(self, held: list[_Line], first: int, rest: int) -> Iterator[Span]:
        """Yield each line as unreadable, with reason `first` for the first line and `rest` for the others."""
        for place, line in enumerate(held):
            if line.text is not None and not line.content:
                self._account.other += line.lines
                continue
            yield None, rest if place else first, line.offset, line.number, line.lines, place == 0

    def _endless(self, line: _Line) -> CorpusError:
        """Return the error for a quote that stays open for too many lines."""
        return CorpusError(
            f"the quote that opens in line {line.number} of {self._uri!r} stays open for more than "
            f"{self._limits.quoted_lines:,} lines, the most that limits.quoted_lines allows",
            "close it; if quotes are signs like any other in this file, set quoting: none for its source",
        )


def _decoded(line: bytes | None, offset: int, number: int) -> _Line:
    """Return a raw line as text, with reason BAD_BYTES if it is not UTF-8."""
    if line is None:
        return _Line(None, LONG_LINE, offset, number, 1)
    try:
        text, code = line.decode(), FINE
    except UnicodeDecodeError:
        text, code = line.decode("utf-8", "surrogateescape"), BAD_BYTES
    return _Line(text.removeprefix(BOM_CHARACTER) if offset == 0 else text, code, offset, number, 1)


def _escaped_end(text: str, escape: str) -> bool:
    """Return whether a line ends with an odd number of escape characters before its line feed."""
    content = text.removesuffix("\n").removesuffix("\r")
    signs = len(content) - len(content.rstrip(escape))
    return len(content) < len(text) and signs % 2 == 1
