"""Records of line formats to batches; at the end of each file the lines that they cover are held against all lines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from raysample.core.config import LimitsConfig
from raysample.core.errors import CorpusError
from raysample.data.readers import encodings
from raysample.data.readers.streams import Unpacked, open_stream
from raysample.data.schema import Batch, Part

PEEK_RECORDS = 10_000
"""How many records are looked at for the names of the columns, where each may have its own."""

_KINDS = (str, bool, int, float)
_INT64 = 1 << 63


Record = tuple[dict[str, Any] | None, int, int, int, int, bool]
"""One record of a line format, a bare tuple for speed: its values by column (None for a broken record), the reason why
it is broken, the byte at which it begins, the number of its first line (from 1 on), how many lines it covers, and
whether reading can begin with it (it cannot behind a quote that opened before)."""


class Account:
    """What became of the lines of a file that is read from end to end.

    Attributes:
        other: lines that are no record: blank ones, and the header.
        total: lines that the file has; of an array, elements that its commas tell.
    """

    def __init__(self, part: Part) -> None:
        self._part, self._covered = part, 0
        self.other = self.total = 0

    def enter(self, records: Iterable[Record]) -> None:
        """Count the lines that records cover."""
        self._covered += sum(record[4] for record in records)

    def close(self, stream: Unpacked) -> None:
        """Raise CorpusError if the file has other lines than were accounted for."""
        if self._covered + self.other != self.total or stream.buffer.peek(1):
            raise CorpusError(
                f"{self._part.uri!r} has {self.total:,} lines, of which {self._covered:,} are in records and "
                f"{self.other:,} are blank or the header: lines were lost or invented",
                "please report this; do not use the corpus",
            )


@dataclass(frozen=True)
class LineFormat(ABC):
    """What the line formats share: a batch is a number of records from a byte on."""

    limits: LimitsConfig = field(default_factory=LimitsConfig)

    def batches(self, part: Part, columns: Sequence[str], size: int) -> Iterator[Batch]:
        """Yield all records, `size` at a time, or a few more; each batch knows the byte at which it begins."""
        with open_stream(part.uri, self.limits) as stream:
            encodings.check_encoding(stream)
            account = Account(part)
            yield from batch_records(self._records(part, stream, account, 0), account, columns, size, 0)
            account.close(stream)

    def range(self, part: Part, columns: Sequence[str], start: int, stop: int, offset: int) -> Batch | None:
        """Return the `stop - start` records from byte `offset` on (0: from the first record on)."""
        with open_stream(part.uri, self.limits) as stream:
            account = Account(part)
            records = self._records(part, stream, account, offset)
            found = next(batch_records(records, account, columns, stop - start, start), None)
        return found if found is None or offset == 0 else replace(found, lines=None)

    def names(self, part: Part) -> dict[str, tuple[str, ...]]:  # noqa: ARG002
        """Lines carry no class names."""
        return {}

    @abstractmethod
    def fields(self, part: Part) -> tuple[str, ...]:
        """Return the names of the columns."""

    @abstractmethod
    def _records(self, part: Part, stream: Unpacked, account: Account, offset: int) -> Iterator[Record]:
        """Yield the records from a byte on (0: all of them), and account for all lines."""


def batch_records(
    records: Iterable[Record], account: Account, columns: Sequence[str], size: int, start: int
) -> Iterator[Batch]:
    """Yield records as batches of `size`, or more where the record behind cannot be read without those before it."""
    held: list[Record] = []
    for record in records:
        if len(held) >= size and record[5]:
            account.enter(held)
            yield _batch(held, columns, start)
            start, held = start + len(held), []
        held.append(record)
    account.enter(held)
    if held:
        yield _batch(held, columns, start)


def _batch(records: list[Record], columns: Sequence[str], start: int) -> Batch:
    broken = {place: record[1] for place, record in enumerate(records) if record[0] is None}
    rows = [record[0] or {} for record in records]
    arrays = {name: to_array([row.get(name) for row in rows]) for name in columns}
    lines = np.array([record[3] for record in records], np.int64)
    return Batch(start, len(rows), arrays, broken, records[0][2], lines)


def exceeds_limit(values: Iterable[Any], limit: int) -> bool:
    """Tell whether a string among the values has more bytes than one may have."""
    return any(isinstance(value, str) and len(value.encode("utf-8", "surrogatepass")) > limit for value in values)


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
