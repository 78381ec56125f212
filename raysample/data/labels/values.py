"""Values of any Arrow type as strings, with the kind of each: 3, 3.0 and "3" are one class in every format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NULL, STRING, SCALAR, FRACTION, NESTED, GARBLED = range(6)
"""Kinds: null or NaN; string; integer, boolean, date; a number that is not whole; list, struct, binary; not UTF-8."""

_EXACT = float(1 << 53)


@dataclass(frozen=True)
class Values:
    """A column as strings, null where a value is missing or unusable; `kinds` is [rows] uint8."""

    strings: pa.StringArray
    kinds: np.ndarray[Any, np.dtype[np.uint8]]


def as_strings(array: pa.Array, names: tuple[str, ...] | None = None) -> Values:
    """Return a column as strings.

    Integers become their decimal digits, or their name where `names` (a ClassLabel's) has them; whole floats and
    decimals read as integers; booleans are `true` and `false`; NaN counts as null; dates and times are in ISO form.
    """
    type_ = array.type
    if pa.types.is_union(type_):
        return _union(array, names)
    if pa.types.is_dictionary(type_):
        return as_strings(array.dictionary_decode(), names)
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return _text(array)
    if pa.types.is_integer(type_):
        return _of_kind(_named(array, names) if names else array.cast(pa.string()), array, SCALAR)
    if pa.types.is_floating(type_):
        return _floats(array, names)
    if pa.types.is_decimal(type_):
        return _decimals(array, names)
    if pa.types.is_boolean(type_) or pa.types.is_temporal(type_):
        return _of_kind(array.cast(pa.string()), array, SCALAR)
    return _of_kind(pa.nulls(len(array), pa.string()), array, NESTED)


def mask(array: pa.Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return a boolean Arrow array as numpy, null as False."""
    result: np.ndarray[Any, np.dtype[np.bool_]] = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return result


def _of_kind(strings: pa.Array, array: pa.Array, kind: int) -> Values:
    """Return strings with one kind for all values, NULL where the array is null."""
    return Values(strings, np.where(mask(array.is_valid()), kind, NULL).astype(np.uint8))


def _text(array: pa.Array) -> Values:
    """Return a string column, checked for valid UTF-8."""
    array = array.cast(pa.string())
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return _valid_only(array)
    return _of_kind(array, array, STRING)


def _valid_only(array: pa.Array) -> Values:
    """Return strings with GARBLED for values that are not UTF-8 (Parquet does not check), found row by row."""
    raw = array.cast(pa.binary()).to_pylist()
    texts = [_decoded(value) for value in raw]
    garbled = [value is not None and text is None for value, text in zip(raw, texts, strict=True)]
    strings = pa.array(texts, pa.string())
    return Values(strings, np.where(garbled, GARBLED, _of_kind(strings, strings, STRING).kinds).astype(np.uint8))


def _decoded(value: bytes | None) -> str | None:
    """Return bytes as text, None if they are not UTF-8."""
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _named(array: pa.Array, names: tuple[str, ...]) -> pa.StringArray:
    """Return ClassLabel names by index; null for an index without a name."""
    known = pc.and_(pc.greater_equal(array, 0), pc.less(array, len(names)))
    places = pc.if_else(known, array.cast(pa.int64(), safe=False), pa.scalar(None, pa.int64()))
    return pc.take(pa.array(names, pa.string()), places)


def _floats(array: pa.Array, names: tuple[str, ...] | None) -> Values:
    """Return floats as strings: whole numbers below 2^53 like integers, NaN as null, others as FRACTION."""
    array = array.cast(pa.float64())
    array = pc.if_else(pc.is_nan(array), pa.scalar(None, pa.float64()), array)
    # Above 2^53 not every integer is a float, so such values do not count as whole numbers.
    whole = pc.and_(pc.equal(pc.round(array), array), pc.less(pc.abs(array), _EXACT))
    numbers = as_strings(pc.if_else(whole, array, 0.0).cast(pa.int64()), names).strings
    kinds = np.where(mask(whole), SCALAR, np.where(mask(array.is_valid()), FRACTION, NULL))
    return Values(pc.if_else(whole, numbers, array.cast(pa.string())), kinds.astype(np.uint8))


def _decimals(array: pa.Array, names: tuple[str, ...] | None) -> Values:
    """Return decimals as strings: whole numbers like integers, others as FRACTION."""
    if array.type.scale < 0:
        array = array.cast(pa.decimal256(76, 0))
    spelled = array.cast(pa.string())
    digits = pc.replace_substring_regex(spelled, r"^(-?[0-9]+)\.0+$", r"\1")
    digits = pc.replace_substring_regex(digits, r"^-0$", "0")
    whole = pc.match_substring_regex(digits, r"^-?[0-9]+$")
    kinds = np.where(mask(whole), SCALAR, np.where(mask(array.is_valid()), FRACTION, NULL))
    if names:
        places = pc.if_else(pc.match_substring_regex(digits, r"^[0-9]{1,18}$"), digits, pa.scalar("-1"))
        digits = pc.if_else(whole, _named(places.cast(pa.int64()), names), digits)
    return Values(digits, kinds.astype(np.uint8))


def _union(array: pa.Array, names: tuple[str, ...] | None) -> Values:
    """Return a sparse union (JSON values of mixed types) as strings, child by child."""
    codes = np.asarray(array.type_codes)
    strings, kinds = pa.nulls(len(array), pa.string()), np.full(len(array), NULL, np.uint8)
    for code in range(array.type.num_fields):
        child, here = as_strings(array.field(code), names), codes == code
        strings = pc.if_else(pa.array(here), child.strings, strings)
        kinds = np.where(here, child.kinds, kinds)
    return Values(strings, kinds)
