"""Quoting rules of separated values: the lines that one record spans, and lines made ambiguous by a stray quote.

`csv.reader` and `pyarrow.csv` join all lines between two quotes into one field, whether or not the second one closes
it. Here a field may end only where RFC 4180 allows it, before a delimiter or the end of a line. Otherwise its lines are
neither one record nor several, and none of them is read.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from functools import lru_cache

QUOTE = '"'


class State(enum.Enum):
    """State of a record at the end of a line: complete, in an open quote, or broken."""

    CLOSED = enum.auto()
    OPEN = enum.auto()
    BROKEN = enum.auto()


@dataclass(frozen=True)
class Grammar:
    """Regular expressions for lines without line ends, for one delimiter and escape character.

    Possessive quantifiers prevent backtracking: matching takes linear time on any input.
    """

    delimiter: str
    escape: str | None = None
    quoting: bool = True
    fields: re.Pattern[str] = field(init=False, repr=False)
    closed: re.Pattern[str] = field(init=False, repr=False)
    _opened: re.Pattern[str] = field(init=False, repr=False)
    _still: re.Pattern[str] = field(init=False, repr=False)
    _closing: re.Pattern[str] = field(init=False, repr=False)
    _reopened: re.Pattern[str] = field(init=False, repr=False)
    _sign: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mark, sign = re.escape(self.delimiter), "" if self.escape is None else re.escape(self.escape)
        taken = f"|{sign}." if sign else ""
        inner = f'(?:[^"{sign}]++|""{taken})*+'
        plain = f"(?:(?:[^{mark}{sign}\\r]++{taken})*+)"
        bare = f'(?:(?!"){plain})' if self.quoting else plain
        one = f'(?:"{inner}"|{bare})' if self.quoting else bare
        caught = f'(?:"({inner})"|({bare}))' if self.quoting else f"()({bare})"
        patterns = {
            "fields": f"{caught}{mark}",
            "closed": f"{one}(?:{mark}{one})*+",
            "_opened": f'(?:{one}{mark})*+"{inner}',
            "_still": inner,
            "_closing": f'{inner}"(?:{mark}{one})*+',
            "_reopened": f'{inner}"{mark}(?:{one}{mark})*+"{inner}',
            "_sign": f'""{f"|{sign}(.)" if sign else "()"}',
        }
        for name, pattern in patterns.items():
            object.__setattr__(self, name, re.compile(pattern, re.DOTALL))

    def first(self, text: str) -> State:
        """Return the state after the first line of a record."""
        if self.closed.fullmatch(text):
            return State.CLOSED
        return State.OPEN if self._opened.fullmatch(text) else State.BROKEN

    def next(self, text: str) -> State:
        """Return the state after a line that begins inside an open quote."""
        if self._still.fullmatch(text):
            return State.OPEN
        if self._closing.fullmatch(text):
            return State.CLOSED
        return State.OPEN if self._reopened.fullmatch(text) else State.BROKEN

    def split(self, text: str) -> list[str]:
        """Return the fields of a complete record."""
        found = self.fields.findall(text + self.delimiter)
        if self.escape is None:
            return [quoted.replace('""', QUOTE) if quoted else bare for quoted, bare in found]
        return [self._unquoted(quoted) or self._unescaped(bare) for quoted, bare in found]

    def odd(self, text: str) -> bool:
        """Return whether a line has an odd number of unescaped quotes."""
        marks = text.count(QUOTE)
        if self.escape is not None and self.escape in text:
            marks -= text.count(self.escape + QUOTE)
        return marks % 2 == 1

    def _unquoted(self, text: str) -> str:
        """Return the content of a quoted field with doubled quotes and escapes resolved."""
        if self.escape is None or self.escape not in text:
            return text.replace('""', QUOTE)
        return self._sign.sub(lambda found: found[1] or QUOTE, text)

    def _unescaped(self, text: str) -> str:
        """Return the content of a bare field with escapes resolved."""
        if self.escape is None or self.escape not in text:
            return text
        return re.sub(re.escape(self.escape) + "(.)", r"\1", text, flags=re.DOTALL)


grammar = lru_cache(maxsize=16)(Grammar)
