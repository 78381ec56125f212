"""A few rows of a corpus, of lengths that differ, on which a model is tried before it scores the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raysample.data.corpus import Corpus
from raysample.influence.shards.columns import ColumnScorer
from raysample.models import Encoded

COUNT = 4
"""Rows: what a pad token does to a row shows in one, what an order does in two; more cost time."""
LEAST = 8
"""Tokens of the longest one: with fewer there is no room for lengths that differ."""


def probes(corpus: Corpus, columns: ColumnScorer, tried: int = 0) -> Encoded | None:
    """Return the tokens of the longest and the shortest row of the first shard and of two others, longest first.

    Lengths that are equal are made different, by tokens left out of the middle or repeated there. The rows that a
    tokenizer fails for are left out; None where it fails for all of them, which is for the scoring to look into.

    Args:
        corpus: what is scored.
        columns: who tokenises.
        tried: how many workers died over probes before: others are drawn then, none of them the longest.
    """
    rows = corpus.read(0)
    chosen = _chosen(rows, tried)
    found: list[Encoded] = []
    for row in chosen.tolist():
        try:
            found.append(columns.encode(rows.slice(row, 1)))
        except Exception as error:  # noqa: BLE001 - whatever it is: it comes again when the row is scored
            del error
    return None if not found else _of_lengths(_joined(found), columns.job.model.max_length)


def _chosen(rows: pa.Table, tried: int) -> NDArray[np.int64]:
    signs = sum(pc.fill_null(pc.utf8_length(rows[name]), 0).to_numpy() for name in ("text", "text_pair"))
    order = np.argsort(signs, kind="stable")
    random = np.random.Generator(np.random.Philox(key=[tried, 0xA9EE]))
    if tried:
        return random.permutation(len(rows))[:COUNT]
    between = random.permutation(order[1:-1])[: COUNT - 2]
    return np.array(list(dict.fromkeys([order[-1], order[0], *between])))


def _joined(found: list[Encoded]) -> Encoded:
    types = None if found[0].types is None else [row for one in found for row in one.types or ()]
    ids = [row for one in found for row in one.ids]
    return replace(found[0], ids=ids, types=types, lengths=np.array([len(row) for row in ids], np.int32))


def _of_lengths(encoded: Encoded, most: int) -> Encoded:
    """Return COUNT rows, longest first, of lengths that all differ where there is room; `most` tokens at most."""
    order = np.argsort(-encoded.lengths, kind="stable").tolist()
    longest = max(int(encoded.lengths[order[0]]), min(LEAST, most))
    ids, types, before = list[Any](), list[Any](), longest + 1
    for place in range(COUNT):
        row = order[place % len(order)]
        own = int(encoded.lengths[row])
        even = max(3, round(longest * (1 - place / COUNT)))
        before = own if place and own < before else max(1, min(even, before - 1))
        at = _places(own, before)
        ids.append(encoded.ids[row][at])
        types.append(None if encoded.types is None else encoded.types[row][at])
    lengths = np.array([len(row) for row in ids], np.int32)
    return replace(encoded, ids=ids, types=None if encoded.types is None else types, lengths=lengths)


def _places(there: int, wanted: int) -> NDArray[np.int64]:
    """Return which tokens of a row make one of another length: its first and its last two stay, for what they mean."""
    if there == wanted:
        found = list(range(there))
    elif there >= 4 and wanted >= 4:
        found = [0, *(1 + place % (there - 3) for place in range(wanted - 3)), there - 2, there - 1]
    else:
        found = [place % there for place in range(wanted - 1)] + [there - 1]
    return np.array(found, np.int64)
