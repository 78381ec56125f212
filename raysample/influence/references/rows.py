"""Rows in an order of their own: by hashes of their ids, so that neither files nor their order decide anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raysample import models
from raysample.core.config import ModelConfig
from raysample.core.numerics.radix import seeded
from raysample.data.corpus import Corpus
from raysample.data.identity import hash_row_ids
from raysample.training import Examples

IntArray = NDArray[np.int64]


def row_keys(row_ids: pa.Array | pa.ChunkedArray | Sequence[str] | NDArray[np.object_]) -> IntArray:
    """Return [rows] int64: the 64-bit hash of each row id, the bits of `policies.base.identity`.

    The same on every machine; two of n ids meet by accident with probability n² / 2^65.
    """
    values: Any = row_ids.to_pylist() if isinstance(row_ids, pa.Array | pa.ChunkedArray) else row_ids
    return hash_row_ids(np.array(values, dtype=object)).view(np.int64)


def sample_corpus(corpus: Corpus, count: int, seed: int) -> pa.Table:
    """Return at most `count` rows: those whose seeded id hashes are the smallest, in the order of these.

    Every set of rows is equally likely over the seeds. One shard at a time is in memory, beside the sample.
    """
    best: list[pa.Table] = []
    for shard in corpus.shards:
        best = [_smallest(pa.concat_tables([*best, corpus.read(shard.index)]), count, seed)]
    return best[0]


def _smallest(table: pa.Table, count: int, seed: int) -> pa.Table:
    words = seeded(row_keys(table["row_id"]).view(np.uint64), seed)
    return table.take(pa.array(np.argsort(words, kind="stable")[:count]))


def sort_by_row_hash(table: pa.Table) -> pa.Table:
    """Return the rows sorted by the hashes of their ids."""
    return table.take(pa.array(np.argsort(row_keys(table["row_id"]), kind="stable")))


def tokenize_rows(table: pa.Table, words: Any, spec: ModelConfig) -> Examples:
    """Return rows tokenised, in their order."""
    encoded = models.encode(words, table, spec)
    labels = table["label"].to_numpy().astype(np.int64)
    ids = np.array(table["row_id"].to_pylist(), dtype=object)
    return Examples(encoded, labels, int(words.pad_token_id), ids)
