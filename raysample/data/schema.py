"""Types shared by the data package: Arrow schemas, shards, raw batches, reasons for quarantine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

CORPUS_SCHEMA = pa.schema(
    [
        ("row_id", pa.string()),
        ("text", pa.string()),
        ("text_pair", pa.string()),
        ("label", pa.int32()),
        ("group", pa.string()),
        ("timestamp", pa.string()),
    ]
)
"""Columns of every table that a corpus yields; `text_pair`, `group` and `timestamp` may be null."""

CONFIDENCE_COLUMN = "label_confidence"
"""Optional float32 column, the production model's confidence in its label: null where the user corrected the label."""

QUARANTINE = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("row_id", pa.string()),
        ("stage", pa.string()),
        ("reason", pa.string()),
    ]
)
"""Columns of a quarantine file: the row's position and the reason, never its text."""

FINE = 0
BAD_JSON, NOT_OBJECT, BAD_CSV, BAD_FIELDS, BAD_BYTES = 1, 2, 3, 4, 5
NO_ID, BAD_ID = 6, 7
NO_TEXT, EMPTY_TEXT, BAD_TEXT, GARBLED_TEXT = 8, 9, 10, 11
NO_PAIR, EMPTY_PAIR, BAD_PAIR, GARBLED_PAIR = 12, 13, 14, 15
NO_LABEL, EMPTY_LABEL, MINUS_ONE, NO_CONSENSUS, BAD_LABEL, FRACTION_LABEL, NOT_NAMED, GARBLED_LABEL = range(16, 24)
DUPLICATE, UNSEEN = 24, 25
BAD_FEEDBACK, NO_CORRECTION, NO_CONFIDENCE, BAD_CONFIDENCE = range(26, 30)
MISSING_LABEL = 30
LONG_LINE, TOO_LARGE, NUL_BYTE, KEY_TWICE, BAD_QUOTE, BEHIND_QUOTE, ROWS_IN_QUOTE = range(31, 38)
REASONS = (
    "",
    "line is not valid JSON",
    "line is not a JSON object",
    "line is not valid CSV",
    "wrong number of fields",
    "line is not valid UTF-8",
    "id is missing",
    "id is neither a string nor a number",
    "text is missing",
    "text is empty",
    "text is not a string",
    "text is not valid UTF-8",
    "text_pair is missing",
    "text_pair is empty",
    "text_pair is not a string",
    "text_pair is not valid UTF-8",
    "label is missing",
    "label is empty",
    "label is -1, taken for no label (labels.missing)",
    "label is '-', taken for no consensus (labels.missing)",
    "label is neither a string nor an integer",
    "label is not a whole number",
    "label is not among the ClassLabel names",
    "label is not valid UTF-8",
    "duplicate id",
    "label is unknown to training",
    "feedback is neither a string nor a number",
    "corrected label is missing",
    "confidence is missing",
    "confidence is not a number in [0, 1]",
    "label is a value that labels.missing takes for no label",
    "line is longer than limits.line",
    "value is larger than limits.value",
    "line holds a NUL byte",
    "JSON object names a key twice",
    "quote opens in this line and does not close properly",
    "line is behind a quote that does not close properly",
    "line is inside quotes that span what look like whole rows",
)
"""The reason of each code; 0 is a usable row."""

SELECTED, BY_WHERE, NO_FEEDBACK, MUTE_FEEDBACK, UNSURE, OTHER_SIDE, BY_LIMIT, VALIDATION_SIDE = range(8)
FILTERS = (
    "",
    "where",
    "no feedback",
    "feedback that gives no label",
    "confidence below min_confidence",
    "other side of the hold-out",
    "limit",
    "other side of the validation split",
)
"""Reasons why the configuration leaves a row out; 0 is a selected row. The first reason that applies is recorded."""


@dataclass(frozen=True)
class Shard:
    """A row range of one source file: the unit that workers read.

    Attributes:
        index: position of the shard in the corpus.
        uri: source file (or `datasets` folder, or hub name).
        start, stop: row positions in the file, before anything is dropped.
        rows: usable rows among them.
        fingerprint: hash of the usable rows' content, in order.
        offset: byte at which row `start` begins in a line format (of the unpacked stream); 0 for the others.
    """

    index: int
    uri: str
    start: int
    stop: int
    rows: int
    fingerprint: str
    offset: int = 0

    @property
    def name(self) -> str:
        """File name stem for results of this shard: from its content, not its index, so new shards rename no file."""
        return self.fingerprint[:20]


@dataclass(frozen=True)
class Part:
    """One source file: its URI, its name relative to the source path, and its `key=value` partition folders."""

    uri: str
    name: str
    constants: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Consecutive raw rows of one file.

    Attributes:
        start: position of the first row in the file. rows: how many.
        columns: the requested columns, with the types they have in the file.
        broken: index in the batch -> reason code of rows that could not be read (their columns are null).
        offset: byte at which the first row begins (line formats), else 0.
        lines: [rows] number of the first physical line of each row, from 1 on (line formats read from end to end).
    """

    start: int
    rows: int
    columns: dict[str, pa.Array]
    broken: dict[int, int] = field(default_factory=dict)
    offset: int = 0
    lines: np.ndarray[Any, np.dtype[np.int64]] | None = None


class Reader(Protocol):
    """Reads one file format. Readers are frozen, hold no open file, and can be pickled."""

    def fields(self, part: Part) -> tuple[str, ...]:
        """Return the column names of the file; empty if none is found, which does not mean that it has no rows."""
        ...

    def names(self, part: Part) -> dict[str, tuple[str, ...]]:
        """Return the class names of the integer columns that carry them (`ClassLabel`)."""
        ...

    def batches(self, part: Part, columns: Sequence[str], size: int) -> Iterator[Batch]:
        """Yield all rows, `size` at a time; every batch but the last has as many, or a few more."""
        ...

    def range(self, part: Part, columns: Sequence[str], start: int, stop: int, offset: int) -> Batch | None:
        """Return rows `start` to `stop`: fewer if the file ends before `stop`, None if it ends before `start`."""
        ...
