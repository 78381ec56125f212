"""Ridge and kernel ridge regression against explicit solves, and their leave-one-out forms against explicit loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from raysample.core.arrays import FloatArray
from raysample.core.numerics.regression import (
    KERNEL_CHUNK_ROWS,
    kernel_left_out,
    kernel_ridge,
    median_distance,
    rbf,
    ridge,
    ridge_left_out,
)


def made_up(rows: int, dims: int, targets: int = 2, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, dims)) + 3
    return X, np.sin(X @ rng.normal(size=(dims, targets))) + rng.normal(size=(rows, targets))


def test_ridge_solves_the_normal_equations_with_a_free_intercept() -> None:
    X, Y = made_up(30, 4)
    centred = X - X.mean(0)
    penalty = 0.3 * (centred**2).sum(1).mean()
    A = np.block([[centred.T @ centred + penalty * np.eye(4), np.zeros((4, 1))], [np.zeros((1, 4)), 30 * np.eye(1)]])
    solved = np.linalg.solve(A, np.vstack([centred.T @ Y, Y.sum(0)]))
    np.testing.assert_allclose(ridge(X, Y, 0.3).predict(X), centred @ solved[:4] + solved[4], rtol=1e-10)


@pytest.mark.parametrize("dims", [3, 40], ids=["fewer dims than rows", "more dims than rows"])
def test_ridge_without_strength_fits_linear_data_exactly(dims: int) -> None:
    X, _ = made_up(20, dims)
    Y = X @ np.ones((dims, 1)) - 7
    np.testing.assert_allclose(ridge(X, Y, 0.0).predict(X), Y, rtol=1e-9)


def test_ridge_leaves_out_constant_and_repeated_columns() -> None:
    X, Y = made_up(20, 3)
    more = np.hstack([X, np.full((20, 1), 5.0), X[:, :1]])
    np.testing.assert_allclose(ridge(more, Y, 0.0).predict(more), ridge(X, Y, 0.0).predict(X), rtol=1e-9)


def test_a_very_strong_ridge_predicts_the_mean() -> None:
    X, Y = made_up(20, 3)
    np.testing.assert_allclose(ridge(X, Y, 1e12).predict(X), np.broadcast_to(Y.mean(0), Y.shape), atol=1e-9)


def left_out(
    X: FloatArray, Y: FloatArray, predict: Callable[[FloatArray, FloatArray, FloatArray], FloatArray]
) -> FloatArray:
    """Fit once per row, without it: the slow twin."""
    keep = [np.arange(len(X)) != i for i in range(len(X))]
    return np.concatenate([predict(X[k], Y[k], X[i : i + 1]) for i, k in enumerate(keep)])


@pytest.mark.parametrize("dims", [4, 40], ids=["fewer dims than rows", "more dims than rows"])
def test_ridge_left_out_equals_a_loop(dims: int) -> None:
    X, Y = made_up(25, dims)
    strengths = (0.01, 1.0)
    total = ((X - X.mean(0)) ** 2).sum(1).mean()  # the penalty stays that of all rows

    def slow(strength: float) -> FloatArray:
        def predict(A: FloatArray, B: FloatArray, x: FloatArray) -> FloatArray:
            own = ((A - A.mean(0)) ** 2).sum(1).mean()
            return ridge(A, B, strength * total / own).predict(x)

        return left_out(X, Y, predict)

    np.testing.assert_allclose(ridge_left_out(X, Y, strengths), [slow(strength) for strength in strengths], rtol=1e-8)


def test_kernel_left_out_equals_a_loop() -> None:
    X, Y = made_up(25, 4)
    slow = [left_out(X, Y, lambda A, B, x, s=s: kernel_ridge(A, B, s, 2.5).predict(x)) for s in (0.01, 1.0)]
    np.testing.assert_allclose(kernel_left_out(X, Y, (0.01, 1.0), 2.5), slow, rtol=1e-8)


def test_kernel_ridge_with_all_rows_and_no_strength_returns_the_exact_values() -> None:
    X, Y = made_up(60, 5)
    np.testing.assert_allclose(kernel_ridge(X, Y, 1e-12).predict(X), Y, atol=1e-6)


def test_kernel_ridge_is_the_formula_of_its_source() -> None:
    X, Y = made_up(30, 4)
    new, _ = made_up(7, 4, seed=1)
    width = median_distance(X)
    K = np.array([[np.exp(-((a - b) ** 2).sum() / (2 * width**2)) for b in X] for a in X])
    slow = np.array([[np.exp(-((a - b) ** 2).sum() / (2 * width**2)) for b in X] for a in new])
    weights = np.linalg.solve(K + 1e-2 * np.mean(np.diag(K)) * np.eye(30), Y)
    np.testing.assert_allclose(kernel_ridge(X, Y).predict(new), slow @ weights, rtol=1e-9)


def test_the_bandwidth_is_the_median_of_the_distances_between_different_rows() -> None:
    assert median_distance(np.array([[0.0], [1.0], [4.0]])) == pytest.approx(3.0)
    assert median_distance(np.ones((5, 2))) == 1.0
    assert median_distance(np.ones((1, 2))) == 1.0


def test_the_kernel_is_one_at_no_distance_and_never_above() -> None:
    X, _ = made_up(40, 6)
    K = rbf(X * 1e4, X * 1e4, 1.0)
    assert K.max() <= 1
    np.testing.assert_allclose(np.diag(rbf(X, X, 1.0)), 1, rtol=1e-10)


def test_prediction_does_not_depend_on_how_rows_are_cut() -> None:
    X, Y = made_up(12, 2)
    fitted = kernel_ridge(X, Y)
    many = np.tile(X, (KERNEL_CHUNK_ROWS // 12 + 2, 1))
    np.testing.assert_allclose(fitted.predict(many)[-12:], fitted.predict(X), rtol=1e-12)
    assert fitted.predict(X[:0]).shape == (0, 2)
