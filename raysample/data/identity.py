"""Row identity: 64-bit hashes of row ids and of group names, the same on every machine and in every run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from raysample.core.arrays import IntArray, WordArray

RowIds: TypeAlias = pa.Array | pa.ChunkedArray | Sequence[str] | npt.NDArray[np.object_]

HASH_KEY = "raysample-row-id"  # 16 bytes, fixed: the identity of a row must never depend on the run


def hash_row_ids(row_id: RowIds) -> WordArray:
    """Return the 64-bit SipHash of each row id under a fixed key: [n] uint64, the same on every machine.

    >>> import pyarrow as pa
    >>> one, two = hash_row_ids(pa.array(["a", "b"])), hash_row_ids(pa.array(["b", "a"]))
    >>> bool((one == two[::-1]).all())  # a function of the id alone
    True
    """
    if isinstance(row_id, pa.Array | pa.ChunkedArray):
        row_id = row_id.to_numpy(zero_copy_only=False)
    values = np.asarray(row_id, dtype=object)
    hashed: WordArray = pd.util.hash_array(values.astype(object), hash_key=HASH_KEY, categorize=False)
    return hashed


NO_GROUP = -1
"""Code of rows without a group: group quotas and caps do not apply to them."""


def group_codes(group: pa.Array | pa.ChunkedArray) -> IntArray:
    """Return the group code of each row, [n] int64: 63 bits of a hash of the group's name, NO_GROUP for null.

    >>> import pyarrow as pa
    >>> codes = group_codes(pa.array(["de", None, "de"]))
    >>> bool(codes[0] == codes[2]), int(codes[1])
    (True, -1)
    """
    whole = group.combine_chunks() if isinstance(group, pa.ChunkedArray) else group
    names = whole.dictionary_encode()
    known = (hash_row_ids(names.dictionary) >> np.uint64(1)).astype(np.int64)
    place = names.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
    codes: IntArray = np.append(known, NO_GROUP)[place]
    return codes
