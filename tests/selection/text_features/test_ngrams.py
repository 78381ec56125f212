"""n-gram features: what is counted, by which hash, and that vectors depend on the text alone."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from raysample.core.errors import CorpusError
from raysample.core.numerics.sparse_projection import right_singular_vectors
from raysample.selection.text_features.ngrams import COLUMNS, fit_ngrams, ngram_counts
from raysample.selection.text_features.text_features import ngram_features, pair_features
from tests.helpers.texts import requests


def test_a_text_has_its_words_their_pairs_and_the_runs_of_signs_of_each_word() -> None:
    counts = ngram_counts(["Ab cd"])
    words, characters = counts[:, :COLUMNS], counts[:, COLUMNS:]
    # Words ab, cd and the pair. With borders each word has 4 signs: two runs of 3 and one of 4.
    assert abs(words).sum() == 3
    assert abs(characters).sum() == 2 * 3


def test_case_and_blanks_do_not_count_and_the_order_of_words_does() -> None:
    one, other, turned = ngram_counts(["Play  a song", "play a\tsong", "song a play"]).toarray()
    assert np.array_equal(one, other)
    assert not np.array_equal(one, turned)


def test_a_repeated_word_is_counted_twice() -> None:
    single, twice = (abs(ngram_counts([text])[:, COLUMNS:]).sum() for text in ("song", "song song"))
    assert twice == 2 * single


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=6))
def test_a_texts_counts_do_not_depend_on_the_texts_beside_it(texts: list[str]) -> None:
    together = ngram_counts(texts)
    assert together.shape == (len(texts), 2 * COLUMNS)
    for number, text in enumerate(texts):
        assert (together[[number]] != ngram_counts([text])).nnz == 0


def test_the_hash_is_the_same_in_every_process() -> None:
    code = (
        "from raysample.selection.text_features.ngrams import ngram_counts; c = ngram_counts(['play a song']); "
        "print(c.indices.tolist(), c.data.tolist())"
    )
    here = ngram_counts(["play a song"])
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert there.stdout.strip() == f"{here.indices.tolist()} {here.data.tolist()}"


def test_vectors_have_length_one_and_depend_on_the_text_alone() -> None:
    texts, _ = requests(300)
    projection = fit_ngrams(texts, dimension=32)
    together = projection.transform(texts)
    assert together.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(together.astype(np.float32), axis=1), 1, atol=2e-3)
    np.testing.assert_allclose(projection.transform(texts[7:8])[0], together[7], atol=1e-3)
    assert np.array_equal(together, fit_ngrams(texts, dimension=32).transform(texts))


def test_unknown_and_empty_texts_are_zeros() -> None:
    projection = fit_ngrams(requests(100)[0], dimension=16)
    assert not projection.transform(["", "日本語", "   "]).any()
    assert projection.transform([]).shape == (0, 16)


def test_texts_of_a_class_are_nearer_to_each_other_than_to_others() -> None:
    texts, labels = requests(400)
    vectors = ngram_features(texts)(texts).astype(np.float32)
    cosines, same = vectors @ vectors.T, labels[:, None] == labels
    assert cosines[same].mean() > cosines[~same].mean() + 0.05


def test_texts_without_anything_in_common_are_refused() -> None:
    with pytest.raises(CorpusError, match="no word and no run of three signs"):
        fit_ngrams(["one", "two"])


def test_pairs_have_four_parts_and_a_missing_text_is_zeros() -> None:
    u, v = np.array([[0.6, 0.8], [1, 0]], np.float16), np.array([[0.8, 0.6], [0, 0]], np.float16)
    found = pair_features(u, v).astype(np.float64)
    product = np.sqrt(2) * 0.48
    np.testing.assert_allclose(found[0], [0.6, 0.8, 0.8, 0.6, 0.2, 0.2, product, product], atol=1e-3)
    np.testing.assert_allclose(found[1], [1, 0, 0, 0, 1, 0, 0, 0], atol=1e-3)
    texts, _ = requests(50)
    pairs: list[str | None] = [*texts[1:], None]
    features = ngram_features(texts, pairs)(texts, pairs)
    width = features.shape[1] // 4
    assert not features[-1, width : 2 * width].any()
    assert np.array_equal(features[0, width : 2 * width], features[1, :width])


def test_singular_vectors_are_those_of_the_dense_decomposition() -> None:
    rng = np.random.default_rng(0)
    A = (rng.normal(size=(60, 20)) * 0.7 ** np.arange(20)) @ rng.normal(size=(20, 90))
    values, vectors = right_singular_vectors(sparse.csr_array(A.astype(np.float32)), 5, iterations=4)
    _, s, Vt = np.linalg.svd(A)
    np.testing.assert_allclose(values, s[:5], rtol=1e-4)
    np.testing.assert_allclose(np.abs((vectors * Vt[:5].T).sum(0)), 1, atol=1e-3)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(5), atol=1e-3)


def test_a_matrix_of_low_rank_has_no_more_vectors_than_its_rank() -> None:
    rng = np.random.default_rng(0)
    A = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 70))
    values, vectors = right_singular_vectors(sparse.csr_array(A.astype(np.float32)), 10)
    assert vectors.shape == (70, 3)
    np.testing.assert_allclose(values, np.linalg.svd(A, compute_uv=False)[:3], rtol=1e-4)
