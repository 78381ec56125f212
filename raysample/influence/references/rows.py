"""Rows ordered by hashes of their ids, so that results do not depend on files or their order."""

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
    """Return the 64-bit hash of each row id, [rows] int64, with the bits of `data.identity.hash_row_ids`.

    The same on every machine; two of n ids collide with probability n² / 2^65.
    """
    values: Any = row_ids.to_pylist() if isinstance(row_ids, pa.Array | pa.ChunkedArray) else row_ids
    return hash_row_ids(np.array(values, dtype=object)).view(np.int64)


def sample_corpus(corpus: Corpus, count: int, seed: int) -> pa.Table:
    """Return at most `count` rows: those with the smallest seeded id hashes, in the order of these hashes.

    Every subset is equally likely over the seeds. One shard at a time is in memory, beside the sample.
    """
    best: list[pa.Table] = []
    for shard in corpus.shards:
        best = [_smallest(pa.concat_tables([*best, corpus.read(shard.index)]), count, seed)]
    return best[0]


def _smallest(table: pa.Table, count: int, seed: int) -> pa.Table:
    """Return the `count` rows with the smallest seeded id hashes, in hash order."""
    hashes = seeded(row_keys(table["row_id"]).view(np.uint64), seed)
    return table.take(pa.array(np.argsort(hashes, kind="stable")[:count]))


def sort_by_row_hash(table: pa.Table) -> pa.Table:
    """Return the rows sorted by the hashes of their ids."""
    return table.take(pa.array(np.argsort(row_keys(table["row_id"]), kind="stable")))


def tokenize_rows(table: pa.Table, tokenizer: Any, spec: ModelConfig) -> Examples:
    """Return the rows tokenised, in their order."""
    encoded = models.encode(tokenizer, table, spec)
    labels = table["label"].to_numpy().astype(np.int64)
    ids = np.array(table["row_id"].to_pylist(), dtype=object)
    return Examples(encoded, labels, int(tokenizer.pad_token_id), ids)
