"""Texts that occur in both training and test: found by content, whatever their ids and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from raysample.core import manifests, storage
from raysample.core.arrays import WordArray
from raysample.data.corpus.corpus import Corpus
from raysample.data.corpus.judge_rows import text_hashes

SHARDS_PER_ITEM = 64
"""Shards per work item."""
Map = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]


@dataclass(frozen=True)
class Overlap:
    """Number of training rows whose texts occur in the test, and of test rows whose texts occur in training.

    Attributes:
        train, test: fingerprints of the two corpora.
        train_rows, test_rows: numbers of rows.
    """

    train: str
    test: str
    train_rows: int
    test_rows: int

    def to_dict(self) -> dict[str, Any]:
        """Return the overlap as JSON-able data."""
        return asdict(self)


def overlap(train: Corpus, test: Corpus, map_fn: Map) -> Overlap:
    """Compare all texts (pairs of texts) of two corpora, exactly but for a 64-bit hash.

    The hashes of the test are held in memory, 8 bytes per row; `map_fn` maps a function over pieces of a corpus, in
    this process or on workers.

    Raises:
        ProvenanceError: a source changed since it was described.
    """
    test_hashes = np.concatenate([np.zeros(0, np.uint64), *map_fn(partial(_hashes, test.uri), _pieces(test))])
    unique_hashes = np.unique(test_hashes)
    rows, seen = 0, np.zeros(len(unique_hashes), bool)
    for count, places in map_fn(partial(_shared, train.uri, unique_hashes), _pieces(train)):
        rows += count
        seen[places] = True
    return Overlap(train.fingerprint, test.fingerprint, rows, int(np.isin(test_hashes, unique_hashes[seen]).sum()))


def stored_overlap(uri: str, train: Corpus, test: Corpus) -> Overlap | None:
    """Return the overlap stored at `uri` if it is of these two corpora, else None."""
    if not storage.exists(uri):
        return None
    stored = manifests.kind_of(Overlap, uri)
    return stored if (stored.train, stored.test) == (train.fingerprint, test.fingerprint) else None


def describe_overlap(found: Overlap, rows: int) -> str:
    """Return the overlap as a sentence; `rows` is the number of test rows."""
    return (
        f"{found.test_rows:,} of {rows:,} test rows ({found.test_rows / rows:.1%}) have the text of a training row "
        f"({found.train_rows:,} rows there); what a model does on them says little about new texts"
    )


def _pieces(corpus: Corpus) -> list[tuple[int, ...]]:
    """Return the shard indices of a corpus in groups of `SHARDS_PER_ITEM`."""
    indices = [shard.index for shard in corpus.shards]
    return [tuple(indices[start : start + SHARDS_PER_ITEM]) for start in range(0, len(indices), SHARDS_PER_ITEM)]


def _hashes(uri: str, shards: Sequence[int]) -> WordArray:
    """Return the text hash of every row in some shards, [rows] uint64."""
    corpus = Corpus.load(uri)
    return np.concatenate([text_hashes(corpus.read(shard)) for shard in shards])


def _shared(uri: str, wanted: WordArray, shards: Sequence[int]) -> tuple[int, Any]:
    """Return the number of rows whose hash is in sorted `wanted`, and the indices in `wanted` that occur."""
    hashes = _hashes(uri, shards)
    if not len(wanted):
        return 0, np.zeros(0, np.int64)
    place = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
    hit = wanted[place] == hashes
    return int(hit.sum()), np.unique(place[hit])
