"""Readers of line formats: JSONL and CSV. A broken line becomes a row with a reason, never the end of the reading."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import fsspec
import pyarrow as pa

from raysample.corpus.schema import BAD_BYTES, BAD_CSV, BAD_FIELDS, BAD_JSON, NOT_OBJECT, Batch, Part
from raysample.errors import CorpusError

PEEK_LINES = 10_000
"""How many JSON lines are looked at for the names of the columns."""

_BOM = b"\xef\xbb\xbf"
_KINDS = (str, bool, int, float)
_INT64 = 1 << 63

Record = tuple[dict[str, Any] | None, int, int]
"""Values by column (None for a broken row), reason code, byte at which the row begins."""


@contextmanager
def _opened(uri: str) -> Iterator[IO[bytes]]:
    with fsspec.open(uri, "rb", compression="infer") as stream:
        yield stream


def _packed(records: Iterable[Record], columns: Sequence[str], size: int, start: int) -> Iterator[Batch]:
    held: list[Record] = []
    for record in records:
        held.append(record)
        if len(held) == size:
            yield _batch(held, columns, start)
            start, held = start + size, []
    if held:
        yield _batch(held, columns, start)


def _batch(records: list[Record], columns: Sequence[str], start: int) -> Batch:
    broken = {place: code for place, (values, code, _) in enumerate(records) if values is None}
    rows = [values or {} for values, _, _ in records]
    arrays = {name: to_array([row.get(name) for row in rows]) for name in columns}
    return Batch(start, len(rows), arrays, broken, records[0][2])


def to_array(values: list[Any]) -> pa.Array:
    """Return JSON values as an Arrow array: of one type where they have one, else as a sparse union over the kinds.

    The union's children are, in order: strings, booleans, integers, floats, and anything else (as the null-or-true of a
    one-field struct, which says "a nested value" without copying it).
    """
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return pa.nulls(len(values), pa.string())
    if len(kinds) == 1 and kinds <= {str, bool, float}:
        return pa.array(values)
    codes = [_kind(value) for value in values]
    if set(codes) <= {2} and None not in values:
        return pa.array(values, pa.int64())
    return _union(values, codes)


def _kind(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and not -_INT64 <= value < _INT64:
        return len(_KINDS)
    if value is None:
        return 0
    return next((code for code, kind in enumerate(_KINDS) if type(value) is kind), len(_KINDS))


def _union(values: list[Any], codes: list[int]) -> pa.Array:
    types = (pa.string(), pa.bool_(), pa.int64(), pa.float64())
    children = [
        pa.array([value if code == kind else None for value, code in zip(values, codes, strict=True)], type_)
        for kind, type_ in enumerate(types)
    ]
    nested = [{"nested": True} if code == len(_KINDS) else None for code in codes]
    children.append(pa.array(nested, pa.struct([("nested", pa.bool_())])))
    return pa.UnionArray.from_sparse(pa.array(codes, pa.int8()), children)


class _Lines:
    """What the line formats share: a batch is a number of records from a byte on."""

    def batches(self, part: Part, columns: Sequence[str], size: int) -> Iterator[Batch]:
        """Yield all records, `size` at a time; each batch knows the byte at which it begins."""
        return _packed(self._records(part, 0), columns, size, 0)

    def range(self, part: Part, columns: Sequence[str], start: int, stop: int, offset: int) -> Batch | None:
        """Return the `stop - start` records from byte `offset` on (0: from the first record on)."""
        return next(_packed(self._records(part, offset), columns, stop - start, start), None)

    def names(self, part: Part) -> dict[str, tuple[str, ...]]:  # noqa: ARG002
        """Lines carry no class names."""
        return {}

    def _records(self, part: Part, offset: int) -> Iterator[Record]:
        raise NotImplementedError


@dataclass(frozen=True)
class JsonLines(_Lines):
    """One JSON object per line, UTF-8, optionally packed (`.gz`). Blank lines are no rows."""

    def fields(self, part: Part) -> tuple[str, ...]:
        """Return the keys seen in the first `PEEK_LINES` lines, in order of appearance."""
        seen: dict[str, None] = {}
        for place, (values, _, _) in enumerate(self._records(part, 0)):
            if place == PEEK_LINES:
                break
            seen.update(dict.fromkeys(values or ()))
        return tuple(seen)

    def _records(self, part: Part, offset: int) -> Iterator[Record]:
        with _opened(part.uri) as stream:
            stream.seek(offset)
            for line in stream:
                if line.strip():
                    yield (*_json(line.removeprefix(_BOM) if offset == 0 else line), offset)
                offset += len(line)


def _json(line: bytes) -> tuple[dict[str, Any] | None, int]:
    try:
        value = json.loads(line)
        # json lets half a surrogate pair pass ("\ud800"), which no UTF-8 text can hold
        if b"\\u" in line:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError:
        return None, BAD_BYTES
    except (ValueError, RecursionError):
        return None, BAD_JSON
    return (value, 0) if isinstance(value, dict) else (None, NOT_OBJECT)


class _Counted:
    """The lines of a stream as text, with the number of bytes handed out so far (a CSV row may span lines)."""

    def __init__(self, stream: IO[bytes], offset: int) -> None:
        self.stream, self.offset = stream, offset

    def __iter__(self) -> Iterator[str]:
        for line in self.stream:
            first = self.offset == 0
            self.offset += len(line)
            yield (line.removeprefix(_BOM) if first else line).decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Csv(_Lines):
    """Comma-separated values (tab in `.tsv`) with a header; every value is a string. Blank lines are no rows."""

    def fields(self, part: Part) -> tuple[str, ...]:
        """Return the header; raises CorpusError where it names a column twice."""
        with _opened(part.uri) as stream:
            header = self._header(part, _Counted(stream, 0))
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise CorpusError(
                f"the header of {part.name!r} names {twice[0]!r} twice", "give every column a name of its own"
            )
        return header

    def _header(self, part: Part, lines: _Counted) -> tuple[str, ...]:
        return tuple(next(self._parser(part, lines), []))

    def _parser(self, part: Part, lines: Iterable[str]) -> Any:
        return csv.reader(lines, delimiter="\t" if ".tsv" in part.name else ",")

    def _records(self, part: Part, offset: int) -> Iterator[Record]:
        with _opened(part.uri) as stream:
            lines = _Counted(stream, 0)
            header = self._header(part, lines)
            if offset:
                stream.seek(offset)
                lines.offset = offset
            parser = self._parser(part, lines)
            while True:
                begin = lines.offset
                try:
                    row = next(parser, None)
                except csv.Error:
                    yield None, BAD_CSV, begin
                    continue
                if row is None:
                    return
                if row:
                    yield (*_checked(header, row), begin)


def _checked(header: tuple[str, ...], row: list[str]) -> tuple[dict[str, Any] | None, int]:
    if len(row) != len(header):
        return None, BAD_FIELDS
    if not all(map(str.isascii, row)) and any("\udc80" <= sign <= "\udcff" for value in row for sign in value):
        return None, BAD_BYTES
    return dict(zip(header, row, strict=True)), 0
