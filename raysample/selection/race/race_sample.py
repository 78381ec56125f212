"""The rows of a race from a corpus and its features: all of them, or a seeded sample."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from raysample.core.arrays import IntArray
from raysample.core.map_fn import threads
from raysample.data.corpus import Corpus
from raysample.data.corpus.near_texts import near_text_hashes
from raysample.data.identity import NO_GROUP, group_codes
from raysample.data.row_sampling import hash_bound, seeded_hashes, smallest_hashes
from raysample.selection.race.race_rows import RaceRows
from raysample.selection.text_features.feature_files import FeatureFiles

RACE_ROWS = 20_000
"""Rows that race, at most, unless the user says otherwise."""


def race_sample(corpus: Corpus, features: FeatureFiles, rows: int = RACE_ROWS, seed: int = 0) -> RaceRows:
    """Return at most `rows` rows of a corpus: those with the smallest seeded hashes of their ids.

    Rows whose texts differ in case, blanks, punctuation and numbers only are one cluster. Memory: the sample, and one
    shard per thread.
    """
    below = hash_bound(rows, corpus.rows)

    def read(index: int) -> dict[str, np.ndarray]:
        """Return the columns of the rows of one shard that may be in the sample."""
        table = corpus.read(index)
        some = np.flatnonzero(seeded_hashes(table["row_id"], seed) <= np.uint64(below))
        part = table.take(pa.array(some))
        return {
            "row_id": part["row_id"].to_numpy(),
            "labels": part["label"].to_numpy().astype(np.int64),
            "vectors": features.read(index, table["row_id"])[some],
            "cluster": near_text_hashes(part).view(np.int64),
            **({"group": group_codes(part["group"])} if corpus.grouped else {}),
        }

    # Threads and not workers: what is read is the sample itself.
    parts = list(threads(read, range(len(corpus.shards))))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    found = RaceRows(
        columns["row_id"],
        columns["vectors"],
        columns["labels"],
        len(corpus.labels),
        _numbered(columns["group"]) if corpus.grouped else None,
        columns["cluster"],
    )
    return found.take(np.sort(smallest_hashes(found.row_id, rows, seed)))


def _numbered(codes: IntArray) -> IntArray:
    """Return codes of groups numbered from 0, NO_GROUP unchanged: hashes are too large to be counted by."""
    known, number = np.unique(codes[codes != NO_GROUP], return_inverse=True)
    result = np.full(len(codes), NO_GROUP)
    if len(known):
        result[codes != NO_GROUP] = number
    return result
