"""Texts that training or validation rows share with the test: found by content, whatever their ids and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from raysample.core import manifests, storage
from raysample.core.arrays import IntArray, WordArray
from raysample.data.corpus.corpus import Corpus
from raysample.data.corpus.judge_rows import text_hashes
from raysample.data.corpus.near_texts import near_text_hashes

SHARDS_PER_ITEM = 64
"""Shards per work item."""
Map = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]


@dataclass(frozen=True)
class Overlap:
    """Numbers of rows whose texts the test shares with the corpora that it is apart from (training, validation).

    Attributes:
        known: fingerprints of these corpora. test: that of the test.
        known_rows: their rows whose text is in the test.
        test_rows: test rows whose text is in them. near_test_rows: the same by near text, so at least as many.
    """

    known: tuple[str, ...]
    test: str
    known_rows: int
    test_rows: int
    near_test_rows: int

    def to_dict(self) -> dict[str, Any]:
        """Return the overlap as JSON-able data."""
        return asdict(self)


def overlap(known: Sequence[Corpus], test: Corpus, map_fn: Map) -> Overlap:
    """Compare all texts (pairs of texts) of corpora with those of the test, exactly but for a 64-bit hash.

    The hashes of the test are held in memory, 16 bytes per row; `map_fn` maps a function over pieces of a corpus, in
    this process or on workers.

    Raises:
        ProvenanceError: a source changed since it was described.
    """
    tested = np.concatenate([np.zeros((2, 0), np.uint64), *map_fn(partial(_hashes, test.uri), _pieces(test))], axis=1)
    wanted = [np.unique(hashes) for hashes in tested]
    rows, seen = 0, [np.zeros(len(hashes), bool) for hashes in wanted]
    for corpus in known:
        for count, *places in map_fn(partial(_shared, corpus.uri, wanted), _pieces(corpus)):
            rows += count
            for found, at in zip(seen, places, strict=True):
                found[at] = True
    both = [
        int(np.isin(hashes, unique[found]).sum()) for hashes, unique, found in zip(tested, wanted, seen, strict=True)
    ]
    return Overlap(tuple(corpus.fingerprint for corpus in known), test.fingerprint, rows, *both)


def stored_overlap(uri: str, known: Sequence[Corpus], test: Corpus) -> Overlap | None:
    """Return the overlap stored at `uri` if it is of these corpora, else None."""
    if not storage.exists(uri):
        return None
    stored, prints = manifests.kind_of(Overlap, uri), tuple(corpus.fingerprint for corpus in known)
    return stored if (stored.known, stored.test) == (prints, test.fingerprint) else None


def describe_overlap(found: Overlap, rows: int) -> str:
    """Return the overlap as a sentence; `rows` is the number of test rows."""
    near = found.near_test_rows - found.test_rows
    nearly = f", and {near:,} more nearly that of one" if near else ""
    return (
        f"{found.test_rows:,} of {rows:,} test rows ({found.test_rows / rows:.1%}) have the text of a training row "
        f"({found.known_rows:,} rows there){nearly}; what a model does on them says little about new texts"
    )


def _pieces(corpus: Corpus) -> list[tuple[int, ...]]:
    """Return the shard indices of a corpus in groups of `SHARDS_PER_ITEM`."""
    indices = [shard.index for shard in corpus.shards]
    return [tuple(indices[start : start + SHARDS_PER_ITEM]) for start in range(0, len(indices), SHARDS_PER_ITEM)]


def _hashes(uri: str, shards: Sequence[int]) -> WordArray:
    """Return the hashes of the text and of the near text of every row in some shards, [2, rows] uint64."""
    corpus = Corpus.load(uri)
    tables = [corpus.read(shard) for shard in shards]
    return np.concatenate([np.stack([text_hashes(rows), near_text_hashes(rows)]) for rows in tables], axis=1)


def _shared(uri: str, wanted: Sequence[WordArray], shards: Sequence[int]) -> tuple[int, IntArray, IntArray]:
    """Return the number of rows whose text is in sorted `wanted`, and the indices of texts and near texts that occur.

    `wanted`: hashes of texts, and of near texts.
    """
    hits, places = list[int](), list[IntArray]()
    for unique, hashes in zip(wanted, _hashes(uri, shards), strict=True):
        place = np.minimum(np.searchsorted(unique, hashes), max(len(unique) - 1, 0))
        hit = unique[place] == hashes if len(unique) else np.zeros(len(hashes), bool)
        hits.append(int(hit.sum()))
        places.append(np.unique(place[hit]))
    return hits[0], places[0], places[1]
