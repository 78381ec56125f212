"""Judge raw rows: convert columns to strings, give each row a verdict, and compute the hashes that identify rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from raysample.core.arrays import Float32Array, Int16Array, Mask, WordArray
from raysample.core.config import Columns, SourceConfig
from raysample.data import schema
from raysample.data.labels import origins
from raysample.data.labels.classes import Codes
from raysample.data.labels.levels import PREFIX, read_others
from raysample.data.labels.values import GARBLED, NESTED, NULL, STRING, Values, as_strings, mask
from raysample.data.schema import Batch, Part

_TEXT_KEY = "raysample-text00"
_ID_KEY = "raysample-rowid0"
TEXT_DIGITS, LABEL_DIGITS = 24, 12
"""Hexadecimal digits of a content id that identify its texts, and its label."""


CONTENT = ("row_id", "text", "text_pair", "label", "group", "timestamp")
"""Columns of a judged batch that make up a row's identity, all strings: `label` is the class name; `row_id` may be null
only if the source has an id column."""


@dataclass(frozen=True)
class JudgedRows:
    """A batch of rows with a verdict per row.

    Attributes:
        content: the columns of `CONTENT`, plus `label_confidence` (as strings) if the source has that column, and
            `level_N`, the class name at level N, for each level of a hierarchical label other than the label itself.
        name: `file:position` of each row.
        reason: [rows] uint8, code of the reason for quarantine (0: usable).
        filtered: [rows] uint8, code of the reason why `where` or `labels` leave the row out (0: selected); always 0 for
            unreadable rows, as their columns are unknown.
        confidence, feedback: as in `origins.Labelled`.
        lines: as in `schema.Batch`.
    """

    content: pa.Table
    name: pa.StringArray
    reason: Codes
    filtered: Codes
    confidence: Float32Array
    feedback: Int16Array
    lines: np.ndarray[Any, np.dtype[np.int64]] | None = None

    @property
    def matches(self) -> Mask:
        """[rows] whether the configuration selects a row."""
        result: Mask = self.filtered == schema.SELECTED
        return result


def judge_rows(batch: Batch, part: Part, config: SourceConfig, names: Mapping[str, tuple[str, ...]]) -> JudgedRows:
    """Turn a raw batch into strings and verdicts; the first reason found is the row's reason."""
    columns = config.columns
    raw = {**batch.columns, **folder_columns(part, batch.rows)}
    broken = np.zeros(batch.rows, np.uint8)
    broken[list(batch.broken)] = list(batch.broken.values())
    name = _names(part, batch)
    row_id, bad_id = _ids(raw, columns, name)
    text, bad_text = _texts(raw[columns.text], schema.NO_TEXT)
    pair, bad_pair = _pairs(raw, columns, batch.rows)
    group, timestamp = (_optional(raw, column, names, batch.rows) for column in (columns.group, columns.timestamp))
    labels = origins.read_label_origins(raw, config, names)
    content = pa.table([row_id, text, pair, labels.names, group, timestamp], names=list(CONTENT))
    if config.labels.confidence is not None:
        content = content.append_column(schema.CONFIDENCE_COLUMN, origins.as_column(labels.confidence))
    more, bad_level = read_others(raw, config, names, batch.rows)
    for key, values in more.items():
        content = content.append_column(key, values)
    unread = broken != schema.FINE
    filtered = np.where(_matches(raw, config.where, names, batch.rows), labels.filtered, np.uint8(schema.BY_WHERE))
    filtered[unread] = schema.SELECTED
    if config.labels.feedback is not None:
        labels.feedback[unread | (filtered == schema.BY_WHERE)] = origins.UNREAD
    return JudgedRows(
        content,
        name,
        _first(broken, bad_id, bad_text, bad_pair, labels.reason, bad_level),
        filtered,
        labels.confidence,
        labels.feedback,
        batch.lines,
    )


def folder_columns(part: Part, rows: int) -> dict[str, pa.StringArray]:
    """Return the partition columns of a file (`key=value` folders), repeated for `rows` rows."""
    return {key: pa.repeat(pa.scalar(value, pa.string()), rows) for key, value in part.constants.items()}


def _first(*reasons: Codes) -> Codes:
    """Return for each row the first reason code that is not FINE."""
    result = np.zeros_like(reasons[0])
    for reason in reasons:
        result = np.where(result == schema.FINE, reason, result)
    return result


def _names(part: Part, batch: Batch) -> pa.StringArray:
    """Return `file:position` of each row of a batch."""
    positions = pa.array(np.arange(batch.start, batch.start + batch.rows)).cast(pa.string())
    return pc.binary_join_element_wise(pa.scalar(part.name), positions, ":")


def _ids(raw: Mapping[str, pa.Array], columns: Columns, name: pa.StringArray) -> tuple[pa.StringArray, Codes]:
    """Return the row ids and a reason code per row; without an id column the row names are the ids."""
    if columns.id is None:
        return name, np.zeros(len(name), np.uint8)
    values = as_strings(raw[columns.id])
    strings = _not_empty(values)
    reason = np.where(mask(pc.is_null(strings)), schema.NO_ID, schema.FINE)
    reason[(values.kinds == NESTED) | (values.kinds == GARBLED)] = schema.BAD_ID
    return strings, reason.astype(np.uint8)


def _texts(array: pa.Array, first: int) -> tuple[pa.StringArray, Codes]:
    """Return a text column as strings, null where unusable, and reason codes that start at `first`."""
    # The codes of every text column are consecutive: missing, empty, not a string, not UTF-8.
    values = as_strings(array)
    kinds = values.kinds
    strings = pc.if_else(pa.array(kinds == STRING), values.strings, pa.scalar(None, pa.string()))
    reason = np.full(len(array), first + 2, np.uint8)
    reason[kinds == STRING] = schema.FINE
    reason[kinds == NULL] = first
    reason[kinds == GARBLED] = first + 3
    reason[mask(pc.equal(pc.utf8_trim_whitespace(strings), ""))] = first + 1
    return strings, reason


def _pairs(raw: Mapping[str, pa.Array], columns: Columns, rows: int) -> tuple[pa.StringArray, Codes]:
    """Return the second texts and their reason codes; all null and FINE if the source has no text pairs."""
    if columns.text_pair is None:
        return pa.nulls(rows, pa.string()), np.zeros(rows, np.uint8)
    return _texts(raw[columns.text_pair], schema.NO_PAIR)


def _optional(
    raw: Mapping[str, pa.Array], column: str | None, names: Mapping[str, tuple[str, ...]], rows: int
) -> pa.StringArray:
    """Return an optional column as strings, null where empty or not configured."""
    if column is None:
        return pa.nulls(rows, pa.string())
    return _not_empty(as_strings(raw[column], names.get(column)))


def _not_empty(values: Values) -> pa.StringArray:
    """Return strings with "" replaced by null."""
    # CSV cannot distinguish null from "", so for ids, groups and times "" is null in every format.
    return pc.if_else(pc.equal(values.strings, ""), pa.scalar(None, pa.string()), values.strings)


def _matches(
    raw: Mapping[str, pa.Array], where: Mapping[str, Any], names: Mapping[str, tuple[str, ...]], rows: int
) -> Mask:
    """Return [rows] whether a row has all column values that `where` requires.

    A value may be written as the column stores it or, for ClassLabel columns, as the class name.
    """
    result = np.ones(rows, np.bool_)
    for column, value in where.items():
        wanted = as_strings(pa.array([value])).strings[0]
        options = [as_strings(raw[column]).strings]
        if column in names:
            options.append(as_strings(raw[column], names[column]).strings)
        if isinstance(value, bool):
            options = [pc.utf8_lower(option) for option in options]
        result &= np.logical_or.reduce([mask(pc.equal(option, wanted)) for option in options])
    return result


def digests(content: pa.Table) -> WordArray:
    """Return [rows, 2] uint64: the 128-bit BLAKE2b of each row's content (id, texts, class name, group, time, levels).

    The confidence in a label is not part of the content: a changed estimate does not change the row. Each value is
    prefixed with its length and null is written as `~`, so that different contents never serialise to the same bytes.
    """
    levels = [name for name in content.column_names if name.startswith(PREFIX)]
    spelled = _spelled(content.select([*CONTENT, *levels])).cast(pa.binary()).to_pylist()
    hashed = b"".join([hashlib.blake2b(value, digest_size=16).digest() for value in spelled])
    return np.frombuffer(hashed, dtype="<u8").reshape(-1, 2).astype(np.uint64)


def shard_fingerprint(hashes: WordArray) -> str:
    """Return the sha256 (hex) of the digests of a shard's usable rows, in order."""
    return hashlib.sha256(hashes.astype("<u8").tobytes()).hexdigest()


def _spelled(content: pa.Table) -> pa.StringArray:
    """Return each row of a table as one string: every value prefixed with its length, null as `~`."""
    pieces: list[pa.Array] = []
    for column in content.combine_chunks().itercolumns():
        values = column.combine_chunks()
        pieces += [pc.fill_null(pc.binary_length(values).cast(pa.string()), "~"), pc.fill_null(values, "")]
    return pc.binary_join_element_wise(*pieces, ":")


def id_hashes(rows: JudgedRows) -> WordArray:
    """Return [rows] uint64: a hash of the row id, used for `limit` and to find repeated ids.

    The probability that any two of n ids collide is n² / 2^65: one in 37 million for a million rows.
    """
    return _hashed(pc.fill_null(rows.content["row_id"], ""), _ID_KEY)


def text_hashes(rows: pa.Table) -> WordArray:
    """Return [rows] uint64: a hash of (text, text_pair) alone."""
    return _hashed(_spelled(rows.select(["text", "text_pair"])), _TEXT_KEY)


def content_ids(rows: pa.Table) -> pa.StringArray:
    """Return the identity of each row's content: 24 hexadecimal digits of its texts' BLAKE2b, then 12 of its label's.

    Sorting by content id puts rows with the same texts next to each other. The probability that any two of n texts
    collide is n² / 2^97; for two labels of one text it is 2^-48.
    """
    texts = _each(_spelled(rows.select(["text", "text_pair"])), TEXT_DIGITS)
    return pc.binary_join_element_wise(texts, _each(rows["label"].combine_chunks(), LABEL_DIGITS), "")


def _each(strings: pa.StringArray, digits: int) -> pa.StringArray:
    """Return `digits` hexadecimal digits of the BLAKE2b of each string; repeated strings are hashed once."""
    known = strings.dictionary_encode()
    hashed = [
        hashlib.blake2b(text.encode(), digest_size=digits // 2).hexdigest() for text in known.dictionary.to_pylist()
    ]
    return pa.array(hashed, pa.string()).take(known.indices)


def _hashed(strings: pa.StringArray, key: str) -> WordArray:
    """Return the 64-bit SipHash of each string under a key, [n] uint64."""
    values = np.empty(len(strings), dtype=object)
    values[:] = strings.to_pylist()
    result: WordArray = pd.util.hash_array(values, hash_key=key, categorize=False)
    return result
