"""Text features without an encoder: hashed word and character n-grams, tf-idf, projected to dense vectors.

Words are runs of letters, digits and underscores, and every other sign that is not a blank, in lower case. A text has
its words, its pairs of neighbouring words, and the runs of 3 to 5 signs of each word with its borders marked. An n-gram
adds ±1 to one of 2^17 columns, both by its hash (Weinberger et al. 2009, arXiv 0902.2206), words and characters in
columns of their own. A sum c becomes sign(c) · (1 + ln |c|) · idf, with idf = 1 + ln((1 + n) / (1 + df)) of the column
over the n texts that the projection was fitted on. The words and the characters of a text are each scaled to length 1.

The hash is the SipHash of row ids, with a fixed key: the same in every process and on every machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from raysample.core.arrays import Float32Array, WordArray
from raysample.core.errors import CorpusError
from raysample.core.numerics.radix import splitmix64
from raysample.core.numerics.sparse_projection import right_singular_vectors
from raysample.data.identity import hash_row_ids

COLUMNS = 1 << 17
"""Columns of words, and as many of characters."""
DIMENSION = 512
FITTED_ROWS = 4_000
"""Texts at most that a projection is fitted on."""
_USED_COLUMNS = 1 << 16
_BLOCK = 8_192
_WORD = re.compile(r"\w+|[^\w\s]")
_SIZES = (3, 4, 5)
_CHARACTERS = np.uint64(0x5851F42D4C957F2D)


@dataclass(frozen=True, eq=False)
class NgramProjection:
    """A fitted map from texts to vectors of length 1, built by `fit_ngrams`.

    Attributes:
        columns: the n-gram columns that are used, rising, [F].
        idf: their inverse document frequencies, [F].
        axes: [F, D].
        rows: number of texts that it was fitted on.
    """

    columns: npt.NDArray[np.int64]
    idf: Float32Array
    axes: Float32Array
    rows: int

    @property
    def dimension(self) -> int:
        """D, the length of a text's vector."""
        return int(self.axes.shape[1])

    def transform(self, texts: Sequence[str]) -> npt.NDArray[np.float16]:
        """Return the vectors of texts, [N, D] float16, of length 1; a text without a known n-gram is zeros."""
        result = np.empty((len(texts), self.dimension), np.float16)
        for start in range(0, len(texts), _BLOCK):
            counts = ngram_counts(texts[start : start + _BLOCK])[:, self.columns]
            dense = _weighted(counts, self.columns, self.idf) @ self.axes
            length = np.linalg.norm(dense, axis=1, keepdims=True)
            result[start : start + _BLOCK] = np.divide(dense, length, out=np.zeros_like(dense), where=length > 0)
        return result


def fit_ngrams(texts: Sequence[str], dimension: int = DIMENSION, seed: int = 0) -> NgramProjection:
    """Fit a projection: the document frequencies, and the largest singular vectors of the tf-idf matrix.

    Columns of fewer than two texts are left out, and beyond 65,536 the rarest. Of more than 4,000 texts a seeded
    sample is used. Labels are not.

    Args:
        texts: the texts.
        dimension: D; less if there are fewer texts or n-grams.
        seed: seed of the sample and of the decomposition.

    Raises:
        CorpusError: no n-gram is in two texts.

    >>> projection = fit_ngrams(["play a song", "play the song", "set an alarm", "set the alarm"], dimension=2)
    >>> u, v, w = projection.transform(["play song", "play songs", "alarm"]).astype(np.float32)
    >>> bool(u @ v > u @ w)
    True
    """
    draw = np.random.Generator(np.random.Philox(key=seed))
    chosen = np.sort(draw.permutation(len(texts))[:FITTED_ROWS])
    counts = ngram_counts([texts[i] for i in chosen])
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    columns = np.flatnonzero(frequency >= 2)
    if not len(columns):
        raise CorpusError(
            f"no word and no run of three signs is in two of the {len(texts):,} texts",
            "give more texts, or an encoder",
        )
    columns = np.sort(columns[np.argsort(-frequency[columns], kind="stable")[:_USED_COLUMNS]])
    idf = (1 + np.log((1 + len(chosen)) / (1 + frequency[columns]))).astype(np.float32)
    _, axes = right_singular_vectors(_weighted(counts[:, columns], columns, idf), dimension, seed)
    return NgramProjection(columns, idf, axes, len(chosen))


def ngram_counts(texts: Sequence[str]) -> Any:
    """Return the signed counts of the hashed n-grams of texts, a sparse matrix [N, 2 · 2^17] float32."""
    words = [_WORD.findall(text.lower()) for text in texts]
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    flat = np.array([word for each in words for word in each], dtype=object)
    row = np.repeat(np.arange(len(texts)), lengths)
    code, known = pd.factorize(flat) if len(flat) else (np.zeros(0, np.int64), flat)
    hashed = hash_row_ids(known) if len(known) else np.zeros(0, np.uint64)
    each = hashed[code]
    beside = np.flatnonzero(row[1:] == row[:-1])
    pairs = splitmix64(each[beside] ^ splitmix64(each[beside + 1]))
    of_words = _hashed(np.concatenate([row, row[beside]]), np.concatenate([each, pairs]), len(texts))
    # Characters are counted once per distinct word: a product of (text x word) with (word x n-gram).
    ones = np.ones(len(code), np.float32)
    used = sparse.coo_array((ones, (row, code)), shape=(len(texts), max(len(known), 1))).tocsr()
    result = sparse.hstack([of_words, used @ _characters(known)], format="csr")
    result.eliminate_zeros()
    result.sort_indices()
    return result


def _characters(words: npt.NDArray[np.object_]) -> Any:
    """Return the signed counts of the runs of signs of each word, [U, 2^17]."""
    grams, place = list[str](), list[int]()
    for number, word in enumerate(words):
        marked = f"\x02{word}\x03"
        for size in _SIZES:
            found = [marked[i : i + size] for i in range(len(marked) - size + 1)]
            grams += found
            place += [number] * len(found)
    code, known = pd.factorize(np.array(grams, dtype=object)) if grams else (np.zeros(0, np.int64), np.zeros(0, object))
    hashed = splitmix64(hash_row_ids(known) ^ _CHARACTERS) if len(known) else np.zeros(0, np.uint64)
    return _hashed(np.array(place, np.int64), hashed[code], max(len(words), 1))


def _hashed(row: npt.NDArray[np.int64], word: WordArray, rows: int) -> Any:
    """Return a matrix [rows, 2^17] with ±1 added at (row, hash)."""
    column = (word & np.uint64(COLUMNS - 1)).astype(np.int64)
    sign = np.where(word >> np.uint64(63), -1, 1).astype(np.float32)
    return sparse.coo_array((sign, (row, column)), shape=(rows, COLUMNS)).tocsr()


def _weighted(counts: Any, columns: npt.NDArray[np.int64], idf: Float32Array) -> Any:
    """Return the tf-idf weights of counts of some columns, words and characters of a text each of length √½."""
    weights = counts.copy()
    weights.data = np.sign(weights.data) * (1 + np.log(np.maximum(np.abs(weights.data), 1))) * idf[weights.indices]
    row = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    part = 2 * row + (columns[weights.indices] >= COLUMNS)
    length = np.sqrt(np.bincount(part, weights=weights.data.astype(np.float64) ** 2, minlength=2 * weights.shape[0]))
    weights.data = (weights.data / (length[part] * np.sqrt(2))).astype(np.float32)
    return weights
