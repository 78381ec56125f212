"""The section `limits`: bounds on memory and unpacked size of a source, beyond which a row or file is refused."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from raysample.core.config.section import Section

_SIZE = re.compile(r"([0-9]+(?:[.][0-9]+)?) ?([kKMGT]?)(i?)B")
_POWERS = " KMGT"


def size_in_bytes(value: Any) -> Any:
    """Return a size such as `64 MiB` as a number of bytes; anything else unchanged, for the type check."""
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    amount, unit, binary = found.groups()
    return round(float(amount) * (1024 if binary else 1000) ** _POWERS.index(unit.upper() or " "))


Size = Annotated[int, Field(ge=1), BeforeValidator(size_in_bytes)]


class LimitsConfig(Section):
    """Bounds on the memory that reading a file of a source may take. Sizes are bytes, or strings such as `64 MiB`.

    A row with a larger `value`, or a longer `line`, is quarantined. A file is refused by name if one of its row groups,
    or one array of it, cannot be read within the limits, or if it unpacks to more than `expansion` times its size (the
    first 256 MiB are free) or to more than `unpacked` bytes.
    """

    # One field of one row, in bytes of UTF-8.
    value: Size = 16 << 20
    # One line, or one record that spans lines, of a line format; one element of a JSON array.
    line: Size = 64 << 20
    # Lines that one quoted field of CSV may span.
    quoted_lines: Annotated[int, Field(ge=1)] = 100_000
    # One row group of Parquet, or one record batch of Arrow, decoded.
    row_group: Size = 4 << 30
    # Unpacked size of a file over its own size.
    expansion: Annotated[float, Field(ge=1)] = 1_000.0
    # Unpacked size of a file.
    unpacked: Size = 1 << 40
