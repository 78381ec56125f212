"""Checks of Arrow arrays from files: offsets and dictionary indices of damaged arrays lead out of memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysample.core.arrays import Mask

_BYTES = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)


def check_arrays(arrays: Iterable[pa.Array]) -> None:
    """Raise ArrowInvalid or ValueError if an array is damaged. Invalid UTF-8 is allowed: it only costs a row."""
    for array in arrays:
        _check(array)


def longer_than(array: pa.Array, most: int) -> Mask:
    """Return [n] bool, whether each value is a string or binary value of more than `most` bytes."""
    coded = pa.types.is_dictionary(array.type)
    values = array.dictionary if coded else array
    if pa.types.is_string_view(values.type):
        values = values.view(pa.binary_view()).cast(pa.large_binary())
    if not any(matches(values.type) for matches in _BYTES):
        return np.zeros(len(array), np.bool_)
    long = pc.greater(pc.binary_length(values), most)
    if not pc.any(long).as_py():
        return np.zeros(len(array), np.bool_)
    long = long.take(array.indices) if coded else long
    result: Mask = pc.fill_null(long, False).to_numpy(zero_copy_only=False)
    return result


def _check(array: pa.Array) -> None:
    """Raise ArrowInvalid or ValueError if an array is damaged."""
    type_ = array.type
    array.validate()
    if pa.types.is_dictionary(type_):
        _check_dictionary(array)
    elif pa.types.is_string(type_):
        array.view(pa.binary()).validate(full=True)
    elif pa.types.is_large_string(type_):
        array.view(pa.large_binary()).validate(full=True)
    elif pa.types.is_string_view(type_):
        array.view(pa.binary_view()).validate(full=True)
    elif pa.types.is_nested(type_):
        _check_nested(array)
    else:
        array.validate(full=True)


def _check_dictionary(array: pa.DictionaryArray) -> None:
    """Raise ValueError if an index lies outside the dictionary."""
    _check(array.dictionary)
    found = pc.min_max(array.indices)
    low, high = found["min"].as_py(), found["max"].as_py()
    if low is not None and not 0 <= low <= high < len(array.dictionary):
        raise ValueError(
            f"a value is number {high if low >= 0 else low} of a dictionary that has {len(array.dictionary)}"
        )


def _check_nested(array: pa.Array) -> None:
    """Raise ArrowInvalid if a nested array is damaged, except for invalid UTF-8 in its strings."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        # Only invalid UTF-8 in a string: nested values are never used as texts.
        if "UTF8" not in str(error) and "utf8" not in str(error).lower().replace("-", ""):
            raise
