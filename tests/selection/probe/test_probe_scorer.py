"""Rows of any number are scored by probes of a sample, each by probes that were not trained on it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from raysample.core.errors import SelectionError
from raysample.data.identity import hash_row_ids
from raysample.selection.probe.fitting import ProbeRows, probe_rows
from raysample.selection.probe.probe_scorer import SAMPLED_SCORES, ProbeScorer
from raysample.selection.probe.probe_scores import dynamics_of, inner_folds, out_of_fold, train_probe

ROWS = 240


def sample(noise: float = 0.2, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 3, rows)
    V = np.eye(12)[truth] + draw.normal(size=(rows, 12)) * 0.2
    labels = np.where(draw.random(rows) < noise, draw.integers(0, 3, rows), truth)
    return (V / np.linalg.norm(V, axis=1, keepdims=True)).astype(np.float16), labels, hash_row_ids(map_ids(rows))


def map_ids(rows: int) -> list[str]:
    return [f"row {i}" for i in range(rows)]


def probed(V: np.ndarray, labels: np.ndarray) -> ProbeRows:
    return probe_rows(V, labels, 3)


def test_a_row_of_the_sample_is_scored_by_the_probe_that_it_did_not_train() -> None:
    V, labels, identity = sample()
    rows = probed(V, labels)
    scorer = ProbeScorer.of(rows, identity, seed=4)
    scores, found = scorer.score(V, labels, identity)
    assert tuple(scores) == SAMPLED_SCORES
    expected = out_of_fold(rows, 4)
    np.testing.assert_allclose(found.confidence, expected.confidence, rtol=1e-4)
    assert np.array_equal(found.predicted, expected.predicted)
    fold = inner_folds(labels, 4)
    for i in (0, 17, 200):
        others = rows.take(np.flatnonzero(fold != fold[i]))
        el2n, aum = dynamics_of(train_probe(others, 4), rows.features[i : i + 1], rows.labels[i : i + 1])
        assert scores["probe_el2n"][i] == pytest.approx(el2n[0], rel=1e-4)
        assert scores["probe_aum"][i] == pytest.approx(aum[0], rel=1e-4)


def test_other_rows_are_scored_by_the_mean_of_all_probes_block_by_block() -> None:
    V, labels, identity = sample(rows=2 * ROWS)
    scorer = pickle.loads(pickle.dumps(ProbeScorer.of(probed(V[:ROWS], labels[:ROWS]), identity[:ROWS])))
    scores, found = scorer.score(V, labels, identity)
    X = scorer.rows.placed(V)[ROWS:]
    each = [dynamics_of(probe, X, probed(V, labels).labels[ROWS:])[0] for probe in scorer.trained]
    np.testing.assert_allclose(scores["probe_el2n"][ROWS:], np.mean(each, axis=0), rtol=1e-4)
    later, again = scorer.score(V[400:], labels[400:], identity[400:], ["probe_aum"])
    np.testing.assert_allclose(later["probe_aum"], scores["probe_aum"][400:], rtol=1e-5)
    np.testing.assert_allclose(again.confidence, found.confidence[400:], rtol=1e-5)


def test_scores_inside_and_outside_the_sample_are_alike() -> None:
    V, labels, identity = sample(rows=4 * ROWS)
    scorer = ProbeScorer.of(probed(V[: 2 * ROWS], labels[: 2 * ROWS]), identity[: 2 * ROWS])
    scores, _ = scorer.score(V, labels, identity)
    for values in scores.values():
        inside, outside = values[: 2 * ROWS], values[2 * ROWS :]
        assert abs(np.median(inside) - np.median(outside)) < 0.2 * values.std()


def test_scores_of_pairs_of_rows_and_features_without_value_are_refused() -> None:
    V, labels, identity = sample()
    scorer = ProbeScorer.of(probed(V, labels), identity)
    with pytest.raises(SelectionError, match="'nearest_similarity' is no score of single rows"):
        scorer.score(V, labels, identity, ["nearest_similarity"])
    V[3, 5] = np.inf
    with pytest.raises(SelectionError, match="the first is row 3"):
        scorer.score(V, labels, identity)
