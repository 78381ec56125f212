"""A few rows of a corpus, of different lengths, on which a model is tried before it scores the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raysample.data.corpus import Corpus
from raysample.data.row_sampling import generator
from raysample.influence.shards.columns import ColumnScorer
from raysample.models import Encoded

PROBE_ROWS = 4
"""Rows: the effect of a pad token shows in one row, that of an order in two; more rows cost time."""
MIN_TOKENS = 8
"""Tokens of the longest row: fewer leave no room for different lengths."""


def probes(corpus: Corpus, columns: ColumnScorer, tried: int = 0) -> Encoded | None:
    """Return the tokens of the longest and the shortest row of the first shard and of two others, longest first.

    Equal lengths are made different: tokens in the middle are left out or repeated. Rows on which the tokenizer fails
    are left out; None if it fails on all of them (scoring then finds the cause).

    Args:
        corpus: the scored corpus.
        columns: its tokenizer.
        tried: workers that died over probes before: then other rows are drawn, without the longest ones on purpose.
    """
    rows = corpus.read(0)
    chosen = _chosen(rows, tried)
    found: list[Encoded] = []
    for row in chosen.tolist():
        try:
            found.append(columns.encode(rows.slice(row, 1)))
        except Exception as error:  # noqa: BLE001 - any error: scoring the row raises it again
            del error
    return None if not found else _of_lengths(_joined(found), columns.job.model.max_length)


def _chosen(rows: pa.Table, tried: int) -> NDArray[np.int64]:
    """Return the positions of the probe rows: longest, shortest and random ones by characters.

    All random after a crash.
    """
    signs = sum(pc.fill_null(pc.utf8_length(rows[name]), 0).to_numpy() for name in ("text", "text_pair"))
    order = np.argsort(signs, kind="stable")
    random = generator(tried, 0xA9EE)
    if tried:
        return random.permutation(len(rows))[:PROBE_ROWS]
    between = random.permutation(order[1:-1])[: PROBE_ROWS - 2]
    return np.array(list(dict.fromkeys([order[-1], order[0], *between])))


def _joined(found: list[Encoded]) -> Encoded:
    """Concatenate the tokens of rows that were tokenised one by one."""
    types = None if found[0].types is None else [row for one in found for row in one.types or ()]
    ids = [row for one in found for row in one.ids]
    return replace(found[0], ids=ids, types=types, lengths=np.array([len(row) for row in ids], np.int32))


def _of_lengths(encoded: Encoded, most: int) -> Encoded:
    """Return PROBE_ROWS rows of different lengths as far as possible, longest first, `most` tokens at most."""
    order = np.argsort(-encoded.lengths, kind="stable").tolist()
    longest = max(int(encoded.lengths[order[0]]), min(MIN_TOKENS, most))
    ids, types, before = list[Any](), list[Any](), longest + 1
    for place in range(PROBE_ROWS):
        row = order[place % len(order)]
        own = int(encoded.lengths[row])
        even = max(3, round(longest * (1 - place / PROBE_ROWS)))
        before = own if place and own < before else max(1, min(even, before - 1))
        at = _places(own, before)
        ids.append(encoded.ids[row][at])
        types.append(None if encoded.types is None else encoded.types[row][at])
    lengths = np.array([len(row) for row in ids], np.int32)
    return replace(encoded, ids=ids, types=None if encoded.types is None else types, lengths=lengths)


def _places(there: int, wanted: int) -> NDArray[np.int64]:
    """Return token positions that change a row of `there` tokens to `wanted` ones; the first and the last two stay."""
    if there == wanted:
        found = list(range(there))
    elif there >= 4 and wanted >= 4:
        found = [0, *(1 + place % (there - 3) for place in range(wanted - 3)), there - 2, there - 1]
    else:
        found = [place % there for place in range(wanted - 1)] + [there - 1]
    return np.array(found, np.int64)
