"""Reader of separated values: CSV with quotes, and tab-separated values without quotes by default."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from raysample.core.errors import CorpusError
from raysample.data.readers import encodings, formats
from raysample.data.readers.lines import PhysicalLines
from raysample.data.readers.quotes import Grammar, grammar
from raysample.data.readers.record_spans import Span, Spans
from raysample.data.readers.records import Account, LineFormat, LineRecord, exceeds_limit
from raysample.data.readers.streams import Unpacked, open_stream
from raysample.data.schema import BAD_CSV, BAD_FIELDS, FINE, NUL_BYTE, REASONS, TOO_LARGE, Part


@dataclass(frozen=True)
class Separated(LineFormat):
    """Values separated by commas (tabs in `.tsv`) under a header; every value is a string. Blank lines are no rows.

    Attributes:
        quoting, delimiter, escape: as in `SourceConfig`; None for the suffix's default.
    """

    quoting: Literal["minimal", "none"] | None = None
    delimiter: str | None = None
    escape: str | None = None

    def fields(self, part: Part) -> tuple[str, ...]:
        """Return the header; raises CorpusError if it is unreadable or repeats a column name."""
        with open_stream(part.uri, self.limits) as stream:
            encodings.check_encoding(stream)
            account = Account(part)
            return self._header(
                part, iter(self._spans(part, PhysicalLines(stream, self.limits.line), account)), account
            )

    def _grammar(self, part: Part) -> Grammar:
        """Return the line grammar of a file, from the configuration and the suffix."""
        tabs = formats.bare(part.name).endswith(".tsv")
        quoting = self.quoting or ("none" if tabs else "minimal")
        return grammar(self.delimiter or ("\t" if tabs else ","), self.escape, quoting == "minimal")

    def _spans(self, part: Part, lines: PhysicalLines, account: Account) -> Spans:
        """Return an iterator over the texts of records."""
        return Spans(part.uri, lines, self._grammar(part), self.limits, account)

    def _header(self, part: Part, spans: Iterator[Span], account: Account) -> tuple[str, ...]:
        """Return the column names in the first line that is not blank; empty if there is no such line."""
        first = next(spans, None)
        if first is None:
            return ()
        text, code, _, line, lines, _ = first
        account.other += lines
        if text is None or (code := _fault(text, code, self._grammar(part))) != FINE:
            raise CorpusError(
                f"the header of {part.uri!r}, in line {line}, cannot be read: {REASONS[code]}",
                "mend it; if quotes are signs like any other in this file, set quoting: none for its source",
            )
        header = tuple(_split(text, self._grammar(part)))
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise CorpusError(
                f"the header of {part.uri!r} names {twice[0]!r} twice", "give every column a name of its own"
            )
        return header

    def _records(self, part: Part, stream: Unpacked, account: Account, offset: int) -> Iterator[LineRecord]:
        """Yield the records after the header, split into fields; broken ones have a reason code."""
        lines = PhysicalLines(stream, self.limits.line)
        found = self._spans(part, lines, account)
        spans, rules, most = iter(found), self._grammar(part), self.limits.value
        header = self._header(part, spans, account)
        found.width = len(header)
        if offset:
            lines.skip_to(offset)
        plain = rules.delimiter if not rules.quoting and rules.escape is None else None
        for text, code, begin, line, covered, apart in spans:
            values: dict[str, Any] | None = None
            if text is not None and not (code := _fault(text, code, rules)):
                fields = _split(text, rules) if plain is None else text.split(plain)
                if len(fields) != len(header):
                    code = BAD_FIELDS
                elif len(text) * 4 > most and exceeds_limit(fields, most):
                    code = TOO_LARGE
                else:
                    values = dict(zip(header, fields, strict=True))
            yield values, code, begin, line, covered, apart
        account.total = lines.count


def _fault(text: str, code: int, rules: Grammar) -> int:
    """Return the reason code why the text of a record cannot be split, FINE if it can."""
    if code != FINE:
        return code
    if "\0" in text:
        return NUL_BYTE
    if "\r" in text and not (rules.quoting and '"' in text):
        return BAD_CSV
    return FINE


def _split(text: str, rules: Grammar) -> list[str]:
    """Return the fields of a record; the regular expression is needed only for quotes and escapes."""
    if (rules.quoting and '"' in text) or (rules.escape is not None and rules.escape in text):
        return rules.split(text)
    return text.split(rules.delimiter)
