"""Folds, and the noise of a difference: of rows, of draws, and of luck that repeats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysample.core.arrays import FloatArray
from raysample.selection.race.candidates import Draw, draw_overlap
from raysample.selection.race.evidence import (
    RacedRows,
    RaceRun,
    contributions,
    estimate_of_winners,
    mean_and_error,
    probe_gain,
    race_difference,
)
from raysample.selection.race.folds import deal_folds


def run(loss: FloatArray, predicted: FloatArray | None = None, shared: float = 0.0) -> RaceRun:
    labels = np.zeros(loss.shape) if predicted is None else predicted
    return RaceRun(loss.astype(np.float32), labels.astype(np.int64), shared)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(200, 500), st.integers(1, 4))
def test_every_row_is_in_one_fold_with_its_cluster_and_classes_are_spread(
    seed: int, classes: int, rows: int, copies: int
) -> None:
    draw = np.random.default_rng(seed)
    cluster = np.arange(rows) // copies
    labels = draw.integers(0, classes, rows)[cluster]
    folds = deal_folds(labels, draw.permutation(rows), 0.5, cluster)
    assert not folds.refused
    assert set(folds.fold[folds.fold >= 0]) == set(range(folds.count))
    for each in np.unique(cluster):
        assert len(set(folds.fold[cluster == each])) == 1
    for label in np.unique(labels):
        units = np.array([len(set(cluster[(folds.fold == f) & (labels == label)])) for f in range(folds.count)])
        assert (folds.fold[labels == label] == -1).all() or units.max() - units.min() <= 1


def test_few_rows_cut_a_race_down_or_refuse_it_with_the_reason() -> None:
    order = np.arange(300)
    tiny = deal_folds(np.array([0] * 296 + [1] * 4), order, 0.5)
    assert (tiny.count, len(tiny.notes)) == (4, 0 + 1)
    assert "4 folds instead of 5" in tiny.notes[0]
    single = deal_folds(np.array([0] * 150 + [1] * 149 + [2]), order, 0.5)
    assert single.count == 5
    assert single.fold[-1] == -1
    assert single.notes == ("1 classes of fewer than 3 different rows (1 rows) are not judged",)
    assert "199 rows are fewer than 200" in deal_folds(np.arange(199) % 2, np.arange(199), 0.5).refused
    assert deal_folds(np.zeros(300, np.int64), order, 0.5).refused == "all rows have one class"
    assert "less than one row for each of 100 classes" in deal_folds(np.arange(300) % 100, order, 0.1).refused
    assert "fewer than two classes" in deal_folds(np.array([0] * 299 + [1]), order, 0.5).refused


def test_contributions_average_to_the_objective() -> None:
    draw = np.random.default_rng(0)
    gold, predicted = draw.integers(0, 3, 90), draw.integers(0, 3, (2, 90))
    rows = RacedRows(gold, np.arange(90) % 3, np.arange(90) % 2)
    one = RaceRun(draw.random((2, 90)).astype(np.float32), predicted, 0.0)
    accuracy = (predicted == gold).mean(1)
    np.testing.assert_allclose(contributions("accuracy", one, rows)[0].mean(1), accuracy)
    np.testing.assert_allclose(contributions("log_loss", one, rows)[0].mean(1), -one.loss.mean(1), rtol=1e-6)
    by_group = [[(p == gold)[rows.group == g].mean() for g in (0, 1)] for p in predicted]
    np.testing.assert_allclose(contributions("worst_group", one, rows)[0].mean(1), np.min(by_group, axis=1))


def test_without_noise_between_draws_the_variance_is_that_of_paired_rows() -> None:
    draw = np.random.default_rng(1)
    loss, rows = draw.random(100), RacedRows(np.zeros(100, np.int64), np.arange(100) % 5)
    better = loss - draw.normal(0.1, 0.3, 100)
    found = race_difference("log_loss", run(np.stack([better] * 2)), run(np.stack([loss] * 3)), rows)
    apart = loss - better
    assert float(found.mean) == pytest.approx(apart.mean(), abs=1e-6)
    assert float(found.seeds) == pytest.approx(0, abs=1e-12)
    assert float(found.rows) == pytest.approx(apart.var() / 100, rel=1e-5)


def test_luck_of_draws_counts_and_one_of_fixed_selections_counts_in_full() -> None:
    # Draws of the incumbent move all rows of a fold together, with a variance of 0.04 between draws.
    draw = np.random.default_rng(2)
    fold = np.arange(4_000) % 5
    moves = draw.normal(0, 0.2, (400, 5))
    base, rows = run(moves[:, fold]), RacedRows(np.zeros(4_000, np.int64), fold)
    fixed = run(np.zeros((2, 4_000)), shared=1.0)
    free = run(np.zeros((2, 4_000)), shared=0.0)
    own = 0.04 / 5 / 400
    assert float(race_difference("log_loss", fixed, base, rows).seeds) == pytest.approx(0.04 + own, rel=0.1)
    assert float(race_difference("log_loss", free, base, rows).seeds) == pytest.approx(0.04 / 5 / 2 + own, rel=0.1)


def test_wrong_wins_are_as_rare_as_the_level_says_where_nothing_differs() -> None:
    # Both arms have draws that move folds together and rows of their own noise, with equal means.
    wins, fold = 0, np.arange(500) % 5
    rows = RacedRows(np.zeros(500, np.int64), fold)
    draw = np.random.default_rng(3)
    for _ in range(400):
        easy = draw.normal(0, 1, 500)
        ours, theirs = (easy + draw.normal(0, 0.2, (n, 5))[:, fold] + draw.normal(0, 1, (n, 500)) for n in (2, 4))
        wins += float(race_difference("log_loss", run(ours), run(theirs), rows).p_value()) < 0.05
    assert 4 <= wins <= 32  # 20 are expected at a level of 5 %; 32 is three standard deviations above


def test_overlap_is_between_chance_and_equality() -> None:
    kept = np.random.default_rng(0).random((2, 4_000)) < 0.5
    one, other = (Draw(each.astype(np.float32)) for each in kept)
    half = Draw(np.where(np.arange(4_000) < 2_000, kept[0], kept[1]).astype(np.float32))
    assert draw_overlap([one, other]) < 0.05
    assert draw_overlap([one, half]) == pytest.approx(0.5, abs=0.05)
    assert draw_overlap([one, one]) == 1


def test_the_winner_is_estimated_on_rows_that_did_not_choose() -> None:
    # Thirty arms of pure noise: the best looks good on the rows that chose it, and no better than 0 on others.
    draw, fold = np.random.default_rng(0), np.arange(1_000) % 5
    values = draw.normal(0, 1, (30, 1_000))
    gain, error = mean_and_error(estimate_of_winners(values, fold))
    assert error == pytest.approx(1 / np.sqrt(1_000), rel=0.1)
    assert values.mean(1).max() > 0.05
    assert abs(gain) < 3 * error
    assert mean_and_error(estimate_of_winners(np.full((1, 10), -1.0), np.arange(10) % 2)) == (0.0, 0.0)


def test_rows_of_one_cluster_count_as_one() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=200), 5)
    alone, together = mean_and_error(values)[1], mean_and_error(values, np.repeat(np.arange(200), 5))[1]
    assert together == pytest.approx(alone * np.sqrt(5), rel=0.02)


def test_the_gain_of_a_probe_is_against_the_class_shares() -> None:
    gold = np.array([0] * 75 + [1] * 25)
    rows = RacedRows(gold, np.arange(100) % 5)
    shares = run(np.where(gold == 0, -np.log(0.75), -np.log(0.25))[None])
    assert probe_gain(shares, rows)[0] == pytest.approx(0, abs=1e-6)
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert probe_gain(run(np.zeros((1, 100))), rows)[0] == pytest.approx(entropy)
