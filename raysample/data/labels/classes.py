"""Which rows have a usable label, and the order of the classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysample.core.config import LabelsConfig
from raysample.data import schema
from raysample.data.labels.class_names import canonical, canonical_names
from raysample.data.labels.values import FRACTION, GARBLED, NESTED, NULL, SCALAR, as_strings, mask

_INTEGER = re.compile(r"-?[0-9]+")
Codes = np.ndarray[Any, np.dtype[np.uint8]]


def read_labels(array: pa.Array, names: tuple[str, ...] | None, rule: LabelsConfig) -> tuple[pa.StringArray, Codes]:
    """Return each row's canonical class name, and a reason code for rows without a usable label (0: usable).

    Values in `rule.missing` mean no label, as a string or as a number: by default -1 (SNLI on the hub) and "-", which
    stands for no consensus (SNLI as published).
    """
    values = as_strings(array)
    plain = canonical_names(values.strings, rule)
    named = canonical_names(as_strings(array, names).strings, rule) if names else plain
    missing = pa.array([canonical(name, rule) for name in rule.missing], pa.string())
    reason = np.zeros(len(array), np.uint8)
    for code, where in (
        (schema.NO_LABEL, values.kinds == NULL),
        (schema.BAD_LABEL, values.kinds == NESTED),
        (schema.GARBLED_LABEL, values.kinds == GARBLED),
        (schema.FRACTION_LABEL, values.kinds == FRACTION),
        (schema.MINUS_ONE, mask(pc.equal(plain, "-1")) & mask(pc.is_in(plain, value_set=missing))),
        (schema.NO_CONSENSUS, mask(pc.equal(plain, "-")) & mask(pc.is_in(plain, value_set=missing))),
        (schema.MISSING_LABEL, mask(pc.is_in(plain, value_set=missing))),
        (schema.NOT_NAMED, (values.kinds == SCALAR) & mask(pc.is_null(named))),
        (schema.EMPTY_LABEL, mask(pc.equal(named, ""))),
    ):
        reason[(reason == schema.FINE) & where] = code
    return named, reason


def order_classes(found: Iterable[str], declared: Sequence[str]) -> tuple[str, ...]:
    """Order the classes that occur: by ClassLabel, else by number if all are integers, else by name."""
    present = set(found)
    if declared:
        known = [name for name in dict.fromkeys(declared) if name in present]
        return (*known, *sorted(present - set(known)))
    if all(_INTEGER.fullmatch(name) for name in present):
        return tuple(sorted(present, key=lambda name: (int(name), name)))
    return tuple(sorted(present))


class Vocabulary:
    """Integer codes of class names, assigned in order of first appearance."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}

    def encode(self, names: pa.StringArray) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Return the codes of a batch, [rows] int32; -1 for null."""
        encoded = names.dictionary_encode()
        known = [self.codes.setdefault(name, len(self.codes)) for name in encoded.dictionary.to_pylist()]
        places = pc.fill_null(encoded.indices, len(known)).to_numpy(zero_copy_only=False)
        result: np.ndarray[Any, np.dtype[np.int32]] = np.array([*known, -1], np.int32)[places]
        return result
