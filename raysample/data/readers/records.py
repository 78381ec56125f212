"""Records of line formats -> batches; the lines covered by records are checked against all lines of the file."""

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
"""Number of records that are read for the column names of JSON lines."""

_KINDS = (str, bool, int, float)
_INT64 = 1 << 63


LineRecord = tuple[dict[str, Any] | None, int, int, int, int, bool]
"""One record of a line format, a bare tuple for speed: values by column (None for a broken record), reason code, byte
offset, number of the first line (from 1 on), number of lines, and whether reading can start at it (not if an earlier
quote is still open)."""


class Account:
    """Accounts for the lines of a file that is read completely.

    Attributes:
        other: lines that belong to no record: blank lines and the header.
        total: all lines of the file; for a JSON array, the elements by the count of its commas.
    """

    def __init__(self, part: Part) -> None:
        self._part, self._covered = part, 0
        self.other = self.total = 0

    def enter(self, records: Iterable[LineRecord]) -> None:
        """Count the lines covered by records."""
        self._covered += sum(record[4] for record in records)

    def close(self, stream: Unpacked) -> None:
        """Raise CorpusError if the counted lines differ from all lines of the file."""
        if self._covered + self.other != self.total or stream.buffer.peek(1):
            raise CorpusError(
                f"{self._part.uri!r} has {self.total:,} lines, of which {self._covered:,} are in records and "
                f"{self.other:,} are blank or the header: lines were lost or invented",
                "please report this; do not use the corpus",
            )


@dataclass(frozen=True)
class LineFormat(ABC):
    """Base class of line formats: a batch is a number of records from a byte offset on."""

    limits: LimitsConfig = field(default_factory=LimitsConfig)

    def batches(self, part: Part, columns: Sequence[str], size: int) -> Iterator[Batch]:
        """Yield all records, `size` at a time or slightly more; each batch has its byte offset."""
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
        """Return no class names: line formats carry none."""
        return {}

    @abstractmethod
    def fields(self, part: Part) -> tuple[str, ...]:
        """Return the names of the columns."""

    @abstractmethod
    def _records(self, part: Part, stream: Unpacked, account: Account, offset: int) -> Iterator[LineRecord]:
        """Yield the records from a byte offset on (0: all records), and account for all lines."""


def batch_records(
    records: Iterable[LineRecord], account: Account, columns: Sequence[str], size: int, start: int
) -> Iterator[Batch]:
    """Yield records in batches of `size`, or more if reading cannot start at the next record."""
    held: list[LineRecord] = []
    for record in records:
        if len(held) >= size and record[5]:
            account.enter(held)
            yield _batch(held, columns, start)
            start, held = start + len(held), []
        held.append(record)
    account.enter(held)
    if held:
        yield _batch(held, columns, start)


def _batch(records: list[LineRecord], columns: Sequence[str], start: int) -> Batch:
    """Return records as a batch with the requested columns."""
    broken = {place: record[1] for place, record in enumerate(records) if record[0] is None}
    rows = [record[0] or {} for record in records]
    arrays = {name: to_array([row.get(name) for row in rows]) for name in columns}
    lines = np.array([record[3] for record in records], np.int64)
    return Batch(start, len(rows), arrays, broken, records[0][2], lines)


def exceeds_limit(values: Iterable[Any], limit: int) -> bool:
    """Return whether a string among the values has more than `limit` bytes."""
    return any(isinstance(value, str) and len(value.encode("utf-8", "surrogatepass")) > limit for value in values)


def to_array(values: list[Any]) -> pa.Array:
    """Return JSON values as an Arrow array: of one type if they have one, else as a sparse union of types.

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
    """Return the index of a value's type in the union; the last index for nested values and huge integers."""
    if isinstance(value, int) and not isinstance(value, bool) and not -_INT64 <= value < _INT64:
        return len(_KINDS)
    if value is None:
        return 0
    return next((code for code, kind in enumerate(_KINDS) if type(value) is kind), len(_KINDS))


def _union(values: list[Any], codes: list[int]) -> pa.Array:
    """Return values of mixed types as a sparse union."""
    types = (pa.string(), pa.bool_(), pa.int64(), pa.float64())
    children = [
        pa.array([value if code == kind else None for value, code in zip(values, codes, strict=True)], type_)
        for kind, type_ in enumerate(types)
    ]
    nested = [{"nested": True} if code == len(_KINDS) else None for code in codes]
    children.append(pa.array(nested, pa.struct([("nested", pa.bool_())])))
    return pa.UnionArray.from_sparse(pa.array(codes, pa.int8()), children)
