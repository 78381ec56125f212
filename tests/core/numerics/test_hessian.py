"""Products with Hessians and their inverses, against dense linear algebra in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from raysample.core.errors import ScoreError
from raysample.core.numerics.hessian import (
    conjugate_gradient,
    flatten,
    gauss_newton,
    hvp,
    lissa,
    relative_residual,
    unflatten,
)
from tests.helpers.oracles_references import dense_hessian


def spectrum(*values: float) -> Tensor:
    """Return a symmetric matrix with these eigenvalues, in turned axes."""
    draw = torch.Generator().manual_seed(0)
    turn, _ = torch.linalg.qr(torch.randn(len(values), len(values), generator=draw, dtype=torch.float64))
    return turn @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ turn.T


QUADRATIC = spectrum(0.1, 0.5, 1.0, 2.0, 3.0, 3.0)
B = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0, 1.0], dtype=torch.float64)


def times(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda v: matrix @ v


def exact(matrix: Tensor, damping: float) -> Tensor:
    return torch.linalg.solve(matrix + damping * torch.eye(len(matrix), dtype=torch.float64), B)


class Logistic:
    """A tiny logistic regression: 30 rows, 4 features, 3 classes, 15 parameters."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(1)
        self.x = torch.randn(30, 4, generator=draw, dtype=torch.float64)
        self.y = torch.randint(3, (30,), generator=draw)
        self.weight = torch.randn(3, 4, generator=draw, dtype=torch.float64).requires_grad_()
        self.bias = torch.randn(3, generator=draw, dtype=torch.float64).requires_grad_()
        self.weights = [self.weight, self.bias]

    def loss(self, rows: slice = slice(None)) -> Tensor:
        return cross_entropy(self.x[rows] @ self.weight.T + self.bias, self.y[rows])


def test_hvp_of_a_quadratic_is_its_matrix() -> None:
    w = torch.randn(6, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(hvp(lambda: w @ QUADRATIC @ w / 2, [w], B), QUADRATIC @ B)


def test_gauss_newton_is_the_hessian_where_logits_are_linear_in_the_parameters() -> None:
    task = Logistic()
    v = torch.randn(15, dtype=torch.float64)
    found = gauss_newton(lambda: task.x @ task.weight.T + task.bias, task.weights, v)
    # The loss there is the mean over 30 rows, here the sum.
    expected = 30 * dense_hessian(task.loss, task.weights) @ v
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_gauss_newton_of_a_network_is_its_dense_form_and_never_negative() -> None:
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(7, 3, generator=draw, dtype=torch.float64)
    weights = [torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_() for shape in ((5, 3), (4, 5))]

    def logits() -> Tensor:
        return (x @ weights[0].T).tanh() @ weights[1].T

    z = logits()
    rows = [flatten(torch.autograd.grad(value, weights, retain_graph=True)) for value in z.flatten()]
    jacobian = torch.stack(rows).view(7, 4, 35)
    p = z.detach().softmax(1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    dense = torch.einsum("bcp,bcd,bdq->pq", jacobian, middle, jacobian)
    for _ in range(5):
        v = torch.randn(35, generator=draw, dtype=torch.float64)
        torch.testing.assert_close(gauss_newton(logits, weights, v), dense @ v, rtol=1e-11, atol=1e-12)
    assert torch.linalg.eigvalsh(dense).min() > -1e-12


def test_hvp_of_a_logistic_regression_is_the_dense_product() -> None:
    task = Logistic()
    v = torch.randn(15, dtype=torch.float64)
    dense = dense_hessian(task.loss, task.weights)
    torch.testing.assert_close(hvp(task.loss, task.weights, v), dense @ v, rtol=1e-12, atol=1e-12)


def test_hvp_of_what_is_linear_or_unused_is_zero() -> None:
    w = torch.ones(2, requires_grad=True)
    unused = torch.ones(3, requires_grad=True)
    assert hvp(lambda: w.sum(), [w], torch.ones(2)).tolist() == [0, 0]
    assert hvp(lambda: (w**2).sum(), [w, unused], torch.ones(5)).tolist() == [2, 2, 0, 0, 0]


def test_flat_and_split_are_inverse() -> None:
    tensors = [torch.randn(2, 3), torch.randn(4), torch.randn(1, 1, 2)]
    for back, tensor in zip(unflatten(flatten(tensors), tensors), tensors, strict=True):
        torch.testing.assert_close(back, tensor, rtol=0, atol=0)


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_conjugate_gradient_on_a_quadratic_is_the_exact_inverse(damping: float) -> None:
    found = conjugate_gradient(times(QUADRATIC), B, damping, iterations=20, tolerance=1e-12)
    torch.testing.assert_close(found.x, exact(QUADRATIC, damping), rtol=1e-10, atol=1e-10)
    # Five distinct eigenvalues: exact after five steps but for rounding.
    assert found.iterations <= 6
    assert found.residual < 1e-11


def test_conjugate_gradient_on_a_logistic_regression_is_the_dense_solution() -> None:
    task = Logistic()
    b = torch.linspace(-1, 1, 15, dtype=torch.float64)
    found = conjugate_gradient(lambda v: hvp(task.loss, task.weights, v), b, 0.05, iterations=60, tolerance=1e-12)
    dense = dense_hessian(task.loss, task.weights) + 0.05 * torch.eye(15, dtype=torch.float64)
    torch.testing.assert_close(found.x, torch.linalg.solve(dense, b), rtol=1e-9, atol=1e-9)


def test_conjugate_gradient_stops_at_the_tolerance_and_tells_the_true_residual() -> None:
    rough = conjugate_gradient(times(QUADRATIC), B, 0.1, iterations=20, tolerance=0.2)
    assert rough.iterations < 5
    assert rough.residual <= 0.2
    assert rough.residual == pytest.approx(relative_residual(times(QUADRATIC), rough.x, B, 0.1))
    assert conjugate_gradient(times(QUADRATIC), 0 * B, 0.1, 20).residual == 0


def test_negative_curvature_is_an_error_that_tells_the_damping() -> None:
    bent = spectrum(-0.5, 1.0, 1.0, 1.0, 2.0, 3.0)
    with pytest.raises(ScoreError, match=r"not positive definite(.|\n)*raise damping above 0\.[345]"):
        conjugate_gradient(times(bent), B, 0.1, iterations=20, tolerance=1e-10)
    found = conjugate_gradient(times(bent), B, 0.6, iterations=20, tolerance=1e-12)
    torch.testing.assert_close(found.x, exact(bent, 0.6))


def test_what_is_not_finite_is_an_error() -> None:
    with pytest.raises(ScoreError, match="curvature of nan"):
        conjugate_gradient(lambda v: v * torch.nan, B, 0.1, iterations=3)


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_lissa_on_a_quadratic_is_the_exact_inverse(damping: float) -> None:
    found = lissa(lambda v, _draw: QUADRATIC @ v, B, damping, scale=4.0, depth=1_500, repeats=2)
    torch.testing.assert_close(found, exact(QUADRATIC, damping), rtol=1e-9, atol=1e-9)


def test_lissa_over_mini_batches_comes_near_the_dense_solution() -> None:
    task, draws = Logistic(), []
    b = torch.linspace(-1, 1, 15, dtype=torch.float64)

    def sampled(v: Tensor, draw: int) -> Tensor:
        draws.append(draw)
        start = 10 * (draw % 3)
        return hvp(lambda: task.loss(slice(start, start + 10)), task.weights, v)

    found = lissa(sampled, b, 0.2, scale=40.0, depth=600, repeats=2)
    dense = dense_hessian(task.loss, task.weights)
    assert relative_residual(times(dense), found, b, 0.2) < 0.05
    assert draws == list(range(1_200))


def test_lissa_that_diverges_is_an_error() -> None:
    with pytest.raises(ScoreError, match=r"LiSSA diverges(.|\n)*raise scale"):
        lissa(lambda v, _draw: QUADRATIC @ v, B, 0.1, scale=1.0, depth=200)
    with pytest.raises(ScoreError, match=r"LiSSA diverges(.|\n)*or damping"):
        lissa(lambda v, _draw: spectrum(-1, 1, 1, 1, 1, 1) @ v, B, 0.1, scale=4.0, depth=200)
    with pytest.raises(ScoreError, match="length nan"):
        lissa(lambda v, _draw: v * torch.nan, B, 0.1, scale=4.0, depth=2)
