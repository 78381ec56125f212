"""Reader of JSON: one object per line, or one array of objects, detected by content and not by suffix."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

from raysample.core.errors import CorpusError
from raysample.data.readers import encodings, json_arrays
from raysample.data.readers.lines import PhysicalLines
from raysample.data.readers.records import PEEK_RECORDS, Account, LineFormat, LineRecord, exceeds_limit
from raysample.data.readers.streams import Unpacked, open_stream
from raysample.data.schema import BAD_BYTES, BAD_JSON, KEY_TWICE, LONG_LINE, NOT_OBJECT, NUL_BYTE, TOO_LARGE, Part


class _KeyTwiceError(ValueError):
    """A JSON object repeats a key: it is unknown which value is meant."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object from its key-value pairs; raises _KeyTwiceError for a repeated key."""
    result = dict(pairs)
    if len(result) < len(pairs):
        raise _KeyTwiceError
    return result


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


@final
@dataclass(frozen=True)
class JsonLines(LineFormat):
    """One JSON object per line, or an array of objects however it is laid out, in UTF-8. Blank lines are no rows."""

    def fields(self, part: Part) -> tuple[str, ...]:
        """Return the keys of the first `PEEK_RECORDS` records, in order of first appearance."""
        seen: dict[str, None] = {}
        with open_stream(part.uri, self.limits) as stream:
            encodings.check_encoding(stream)
            for record in itertools.islice(self._records(part, stream, Account(part), 0), PEEK_RECORDS):
                seen.update(dict.fromkeys(record[0] or ()))
        return tuple(seen)

    def _records(self, part: Part, stream: Unpacked, account: Account, offset: int) -> Iterator[LineRecord]:
        """Yield records from lines or from the elements of one array."""
        if json_arrays.begins(stream.head):
            return self._elements(part, stream, account, offset)
        return self._lines(stream, account, offset)

    def _lines(self, stream: Unpacked, account: Account, offset: int) -> Iterator[LineRecord]:
        """Yield the records of JSON lines; blank lines are counted but yield none."""
        lines = PhysicalLines(stream, self.limits.line)
        if offset:
            lines.skip_to(offset)
        for line, begin in lines:
            if line is None:
                yield None, LONG_LINE, begin, lines.count, 1, True
            elif line.isspace() or not (line := line.removeprefix(encodings.UTF8_BOM) if begin == 0 else line).strip():
                account.other += 1
            else:
                yield *self._parsed(line), begin, lines.count, 1, True
        account.total = lines.count

    def _elements(self, part: Part, stream: Unpacked, account: Account, offset: int) -> Iterator[LineRecord]:
        """Yield the elements of a JSON array; one that is not JSON makes the file an error."""
        array = json_arrays.Array(stream, self.limits.line)
        for element, begin, line in array.elements(offset):
            try:
                values, code = self._parsed(element, strict=True)
            except json.JSONDecodeError as error:
                at = line + element.count(b"\n", 0, error.pos)
                raise CorpusError(
                    f"{part.uri!r} is damaged in line {at}: an element of its JSON array is not valid: {error.msg}",
                    "mend the file, or leave it out of the folder; of lines of JSON only the broken ones are set aside",
                ) from error
            yield values, code, begin, line, 1, True
        account.total = array.expected

    def _parsed(self, line: bytes, *, strict: bool = False) -> tuple[dict[str, Any] | None, int]:
        """Return the object in a line, or None and the reason code.

        With `strict`, invalid JSON raises JSONDecodeError: inside an array the end of a broken element is unknown.
        """
        text = encodings.decoded(line)
        if text is None:
            return None, NUL_BYTE if b"\0" in line else BAD_BYTES
        try:
            value = _DECODER.decode(text)
        except _KeyTwiceError:
            return None, KEY_TWICE
        except (ValueError, RecursionError) as error:
            # int() raises ValueError, too, for a number with too many digits
            if strict and isinstance(error, json.JSONDecodeError):
                raise
            return None, NUL_BYTE if b"\0" in line else BAD_JSON
        if not isinstance(value, dict):
            return None, NOT_OBJECT
        return self._checked(value, line)

    def _checked(self, value: dict[str, Any], line: bytes) -> tuple[dict[str, Any] | None, int]:
        """Return an object if its strings are valid Unicode and within the limits, else None and the reason code."""
        if encodings.may_hold_surrogates(line) and not encodings.is_sound(json.dumps(value, ensure_ascii=False)):
            return None, BAD_BYTES
        if len(line) > self.limits.value and exceeds_limit(value.values(), self.limits.value):
            return None, TOO_LARGE
        return value, 0
