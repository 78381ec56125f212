"""Hashes that are equal for texts which differ in case, blanks, punctuation and numbers only.

Such texts are one text to a test: if one copy trains and another one judges, the judgement measures memory.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysample.core.arrays import WordArray
from raysample.core.numerics.radix import splitmix64
from raysample.data.identity import hash_row_ids


def near_text_hashes(rows: pa.Table) -> WordArray:
    """Return a hash of each row's normalised text and pair, [N] uint64; a text of signs alone is taken as it is.

    >>> texts = ["Play it, now!", "play it now", "Play 2 songs", "play 10 songs", "?!", "!!"]
    >>> hashes = near_text_hashes(pa.table({"text": texts, "text_pair": pa.nulls(6, pa.string())}))
    >>> [bool(hashes[i] == hashes[i + 1]) for i in (0, 2, 4)]
    [True, True, False]
    """
    found = hash_row_ids(normalised(rows["text"]))
    if rows["text_pair"].null_count == len(rows):
        return found
    pair = hash_row_ids(normalised(pc.fill_null(rows["text_pair"], "")))
    return found ^ splitmix64(pair + np.uint64(1))


def normalised(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts in lower case, with 0 for numbers, without punctuation and repeated blanks."""
    plain = pc.replace_substring_regex(pc.utf8_lower(texts), r"\p{N}+", "0")
    plain = pc.utf8_trim(pc.replace_substring_regex(plain, r"[^\p{L}\p{M}0]+", " "), " ")
    return pc.if_else(pc.equal(plain, ""), texts, plain)
