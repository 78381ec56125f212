"""Stacked logistic regression against slow twins in float64, and what theory says about its minimum."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from raysample.core.numerics.logistic_regression import fit_logistic, principal_axes, row_blocks

Matrix = npt.NDArray[np.float64]


def made_up(rows: int = 300, dims: int = 8, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, dims))
    y = (X @ rng.normal(size=(dims, classes)) + rng.gumbel(size=(rows, classes))).argmax(1)
    y[:classes] = np.arange(classes)
    return torch.tensor(X), torch.tensor(y)


def slow_twin(X: Matrix, y: npt.NDArray[np.int64], classes: int, weights: Matrix, penalty: float) -> Matrix:
    """Minimise the objective of one problem by scipy in float64, from its formula."""
    share = weights / weights.sum()

    def objective(flat: Matrix) -> tuple[float, Matrix]:
        theta = flat.reshape(-1, classes)
        log_p = special.log_softmax(X @ theta[:-1] + theta[-1], axis=1)
        error = share[:, None] * (np.exp(log_p) - np.eye(classes)[y])
        gradient = np.vstack([X.T @ error + penalty * theta[:-1], error.sum(0)])
        loss = -(share * log_p[np.arange(len(y)), y]).sum() + penalty / 2 * (theta[:-1] ** 2).sum()
        return loss, gradient.ravel()

    start = np.zeros((X.shape[1] + 1) * classes)
    found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-10, "ftol": 1e-16})
    return found.x.reshape(-1, classes)


def centred(theta: Matrix) -> Matrix:
    """Return coefficients without the constant that the softmax cannot see."""
    return theta - theta.mean(1, keepdims=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_problem_of_a_stack_is_the_one_that_the_slow_twin_solves(dtype: torch.dtype) -> None:
    X, y = made_up()
    weights = torch.tensor(np.random.default_rng(1).integers(0, 4, (3, len(y)))).double()
    penalties = torch.tensor([1e-1, 1e-2, 1e-3]).double()
    tolerance = 1e-8 if dtype == torch.float64 else 1e-6
    fit = fit_logistic(X, y, 4, weights, penalties, dtype=dtype, tolerance=tolerance, most=500)
    assert fit.slope.max() < 1e-5
    for p in range(3):
        expected = centred(slow_twin(X.numpy(), y.numpy(), 4, weights[p].numpy(), float(penalties[p])))
        accuracy = 1e-5 if dtype == torch.float64 else 5e-3
        np.testing.assert_allclose(centred(fit.coefficients[p].double().numpy()), expected, atol=accuracy)


def test_scikit_learn_finds_the_same_minimum_at_the_documented_strength() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = made_up(400, 6, 3)
    kept = np.random.default_rng(2).random(400) < 0.5
    theirs = linear_model.LogisticRegression(C=5.0, tol=1e-10, max_iter=5_000).fit(X[kept], y[kept])
    penalty = torch.tensor([1 / (5.0 * kept.sum())])
    fit = fit_logistic(X, y, 3, torch.tensor(kept)[None].double(), penalty, dtype=torch.float64, tolerance=1e-9)
    loss, predicted = fit.judge(X, y)
    expected = theirs.predict_log_proba(X)
    np.testing.assert_allclose(loss[0].numpy(), -expected[np.arange(400), y], atol=1e-5)
    assert predicted[0].tolist() == theirs.predict(X).tolist()


def test_with_a_strong_penalty_the_free_bias_predicts_the_class_shares() -> None:
    X, y = made_up()
    fit = fit_logistic(X, y, 4, torch.ones(1, len(y)), torch.tensor([1e6]), dtype=torch.float64, tolerance=1e-10)
    shares = np.bincount(y, minlength=4) / len(y)
    np.testing.assert_allclose(special.softmax(fit.coefficients[0, -1].numpy()), shares, rtol=1e-6)
    # The mean log-loss is then the entropy of the shares.
    assert float(fit.loss[0]) == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-5)


def test_two_rows_have_a_closed_form() -> None:
    # Rows ±1 of two classes: by symmetry W = (-w, w), b = 0, and the derivative in w vanishes where
    # 1 / (1 + exp(2w)) = λ w.
    X, y = torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1])
    w = optimize.brentq(lambda w: 1 / (1 + math.exp(2 * w)) - 0.05 * w, 0, 20)
    fit = fit_logistic(X, y, 2, torch.ones(1, 2), torch.tensor([0.05]), dtype=torch.float64, tolerance=1e-12)
    np.testing.assert_allclose(fit.coefficients[0].numpy(), [[-w, w], [0, 0]], atol=1e-9)


def test_uniform_logits_cost_the_logarithm_of_the_number_of_classes() -> None:
    X, y = made_up(classes=4)
    fit = fit_logistic(X, y, 4, torch.ones(1, len(y)), torch.tensor([1e-3]), most=1)  # the start: zeros
    assert fit.evaluations == 1
    assert not bool(fit.converged[0])
    assert float(fit.loss[0]) == pytest.approx(math.log(4))
    np.testing.assert_allclose(fit.judge(X, y)[0].numpy(), math.log(4), rtol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1_000), st.integers(2, 5), st.integers(1, 9))
def test_a_row_of_weight_two_is_two_rows_and_one_of_weight_zero_is_none(seed: int, classes: int, dims: int) -> None:
    X, y = made_up(60, dims, classes, seed)
    times = torch.tensor(np.random.default_rng(seed).integers(0, 3, 60))
    times[:classes] = 1
    several = {"dtype": torch.float64, "tolerance": 1e-9}
    one = fit_logistic(X, y, classes, times[None].double(), torch.tensor([0.01]), **several)
    X2, y2 = X.repeat_interleave(times, 0), y.repeat_interleave(times)
    other = fit_logistic(X2, y2, classes, torch.ones(1, len(y2)), torch.tensor([0.01]), **several)
    np.testing.assert_allclose(one.judge(X, y)[0], other.judge(X, y)[0], atol=1e-5)


def test_a_problem_does_not_feel_its_neighbours_in_the_stack_nor_the_blocks() -> None:
    X, y = made_up(500)
    weights = (torch.rand(6, 500, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    penalties = torch.logspace(-4, -1, 6).double()
    several = {"dtype": torch.float64, "tolerance": 1e-8, "most": 500}
    together = fit_logistic(X, y, 4, weights, penalties, **several)
    for p in range(6):
        alone = fit_logistic(X, y, 4, weights[p : p + 1], penalties[p : p + 1], cells=1, **several)
        np.testing.assert_allclose(together.judge(X, y)[0][p], alone.judge(X, y, cells=1)[0][0], atol=2e-5)


def test_the_same_inputs_give_the_same_bits_and_are_not_written_to() -> None:
    X, y = made_up(500)
    X = X.float()
    before, weights, penalties = X.clone(), torch.ones(4, 500), torch.logspace(-4, -1, 4)
    one, other = (fit_logistic(X, y, 4, weights, penalties) for _ in range(2))
    assert torch.equal(one.coefficients, other.coefficients)
    assert torch.equal(X, before)


def test_half_precision_features_and_a_warm_start_end_at_the_same_minimum() -> None:
    X, y = made_up(500)
    half, weights, penalty = X.half(), torch.ones(1, 500), torch.tensor([1e-3])
    cold = fit_logistic(half, y, 4, weights, penalty, tolerance=1e-5)
    warm = fit_logistic(half, y, 4, weights, penalty, tolerance=1e-5, start=cold.coefficients)
    assert warm.evaluations == 1
    single = fit_logistic(half.float(), y, 4, weights, penalty, tolerance=1e-5)
    assert torch.equal(cold.coefficients, single.coefficients)  # blocks are widened before anything is computed


def test_principal_axes_leave_the_predictions_and_save_evaluations() -> None:
    X, y = made_up(600, 12, 3)
    X = X * torch.logspace(0, 2, 12) + 3  # badly scaled, off centre, and mixed
    X = X @ torch.tensor(np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0])
    mean, axes = principal_axes(X)
    turned = (X - mean) @ axes.double()
    covariance = np.cov(turned.numpy().T, ddof=0)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-2)
    several = {"dtype": torch.float64, "tolerance": 1e-5, "most": 2_000}
    plain, quick = (fit_logistic(Z, y, 3, torch.ones(1, 600), torch.tensor([1e-2]), **several) for Z in (X, turned))
    np.testing.assert_allclose(plain.judge(X, y)[0], quick.judge(turned, y)[0], atol=1e-3)
    assert quick.evaluations < plain.evaluations / 2


def test_blocks_cover_all_rows_once() -> None:
    rows = [each for part in row_blocks(1_000, 100, 10_000) for each in range(1_000)[part]]
    assert rows == list(range(1_000))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"labels": torch.tensor([0, 2])}, "labels from 0 to 1"),
        ({"row_weights": torch.zeros(1, 2)}, "every problem needs a row"),
        ({"row_weights": torch.ones(2, 2)}, r"row weights \[1, 2\]"),
        ({"penalties": torch.tensor([-1.0])}, "not be negative"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change: dict[str, torch.Tensor], match: str) -> None:
    good = {"labels": torch.tensor([0, 1]), "row_weights": torch.ones(1, 2), "penalties": torch.tensor([0.1])}
    with pytest.raises(ValueError, match=match):
        fit_logistic(torch.zeros(2, 1), classes=2, **{**good, **change})
