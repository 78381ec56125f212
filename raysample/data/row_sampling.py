"""Seeded samples of rows: by the hashes of row ids, or by a generator that draws positions.

A sample by hashes depends neither on the order of the rows nor on how they lie in files, and a smaller sample of a seed
is a part of a larger one. The rows with the smallest seeded hashes are a uniform sample without replacement: every
subset is equally likely over the seeds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from raysample.core.arrays import IntArray, WordArray
from raysample.core.numerics.radix import seeded
from raysample.data.identity import RowIds, hash_row_ids

if TYPE_CHECKING:
    from raysample.data.corpus import Corpus


def row_keys(row_ids: RowIds) -> IntArray:
    """Return the 64-bit hash of each row id, [rows] int64, with the bits of `data.identity.hash_row_ids`.

    The same on every machine; two of n ids collide with probability n² / 2^65.
    """
    return hash_row_ids(row_ids).view(np.int64)


def seeded_hashes(row_ids: RowIds, seed: int) -> WordArray:
    """Return the seeded hash of each row id, [rows] uint64; the smallest ones of several parts can be merged."""
    return seeded(hash_row_ids(row_ids), seed)


def smallest_hashes(row_ids: RowIds, count: int, seed: int) -> IntArray:
    """Return the positions of the `count` rows with the smallest seeded hashes, smallest first; all if there are fewer.

    >>> ids = ["a", "b", "c", "d"]
    >>> [ids[i] for i in smallest_hashes(ids, 2, seed=0)] == [ids[i] for i in smallest_hashes(ids, 3, seed=0)[:2]]
    True
    """
    return np.argsort(seeded_hashes(row_ids, seed), kind="stable")[:count].astype(np.int64)


def hash_bound(count: int, rows: int) -> int:
    """Return the hash below which a little more than `count` of `rows` rows lie; the largest one if there are fewer.

    More than `count` with near certainty: the margin is eight standard deviations.
    """
    share = 1.0 if rows <= count else (count + 8 * math.sqrt(count) + 64) / rows
    return min(round(share * 2.0**64), 2**64 - 1)


def sort_by_row_hash(table: pa.Table) -> pa.Table:
    """Return the rows sorted by the hashes of their ids."""
    return table.take(pa.array(np.argsort(row_keys(table["row_id"]), kind="stable")))


def sample_corpus(corpus: Corpus, count: int, seed: int) -> pa.Table:
    """Return at most `count` rows: those with the smallest seeded id hashes, in the order of these hashes.

    One shard at a time is in memory, beside the sample.
    """
    best = corpus.schema.empty_table()
    for shard in corpus.shards:
        rows = pa.concat_tables([best, corpus.read(shard.index)])
        best = rows.take(pa.array(smallest_hashes(rows["row_id"], count, seed)))
    return best


def sample_positions(corpus: Corpus, count: int, seed: int) -> dict[int, IntArray]:
    """Return the positions in each shard, ascending, of the `count` rows with the smallest seeded hashes."""
    ids = [corpus.read(shard.index)["row_id"].to_pylist() for shard in corpus.shards]
    chosen = np.sort(smallest_hashes([row for part in ids for row in part], count, seed))
    starts = np.cumsum([0, *(len(part) for part in ids)])
    return {
        shard.index: chosen[(chosen >= starts[i]) & (chosen < starts[i + 1])] - starts[i]
        for i, shard in enumerate(corpus.shards)
    }


def generator(seed: int, stream: int = 0) -> np.random.Generator:
    """Return the generator that draws positions for a seed; streams of one seed are independent of each other."""
    return np.random.Generator(np.random.Philox(key=[seed % 2**63, stream]))
