"""Ridge and kernel ridge regression in float64, with closed-form leave-one-out predictions for choosing the strength.

Strengths are relative: `strength` times the mean of the diagonal of the Gram matrix is added to that diagonal, so one
grid suits matrices of any size and scale.

Source of the kernel form: Nikdan et al., NeurIPS 2025, arXiv 2505.19051 (landmarks). Difference: they propagate
gradients from landmarks to the other rows, this module predicts any score. The leave-one-out forms are Allen's PRESS
(1974).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysample.core.arrays import FloatArray

DELTA = 1e-2
BANDWIDTH_ROWS = 1_000
"""Number of first rows whose pairwise distances decide the bandwidth."""
KERNEL_CHUNK_ROWS = 4_096


@dataclass(frozen=True)
class Ridge:
    """A fitted linear map: weights [D, K] and offset [K]."""

    weights: FloatArray
    offset: FloatArray

    def predict(self, X: FloatArray) -> FloatArray:
        """Return X W + b, [n, K], of rows X [n, D]."""
        found: FloatArray = X @ self.weights + self.offset
        return found


@dataclass(frozen=True)
class KernelRidge:
    """A fitted kernel expansion: anchors [l, D], their weights [l, K], and the bandwidth of the RBF kernel."""

    anchors: FloatArray
    weights: FloatArray
    bandwidth: float

    def predict(self, X: FloatArray) -> FloatArray:
        """Return K(X, anchors) W, [n, K], of rows X [n, D], a few thousand rows at a time."""
        parts = [
            rbf(X[start : start + KERNEL_CHUNK_ROWS], self.anchors, self.bandwidth) @ self.weights
            for start in range(0, len(X), KERNEL_CHUNK_ROWS)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.weights.shape[1]))


def ridge(X: FloatArray, Y: FloatArray, strength: float) -> Ridge:
    """Fit Y [n, K] by X W + b, X [n, D]: min ‖Y − XW − b‖² + λ‖W‖², the intercept not penalised.

    λ = strength · mean_i ‖x_i − x̄‖². Strength 0 gives the least-squares fit of least norm.

    >>> X, Y = np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [3.0], [5.0]])
    >>> ridge(X, Y, strength=0.0).predict(np.array([[3.0]])).round(6).tolist()  # y = 2x + 1
    [[7.0]]
    """
    centre, offset = X.mean(0), Y.mean(0)
    U, s, Vt = np.linalg.svd(X - centre, full_matrices=False)
    weights: FloatArray = Vt.T @ (_inverted(s, strength, len(X))[:, None] * (U.T @ (Y - offset)))
    return Ridge(weights, offset - centre @ weights)


def ridge_left_out(X: FloatArray, Y: FloatArray, strengths: Sequence[float]) -> FloatArray:
    """Return the leave-one-out predictions of `ridge` for each row, [strengths, n, K].

    Exact for fixed λ: y_i − r_i / (1 − h_ii), r the residuals and h the diagonal of the hat matrix
    1/n + U diag(s² / (s² + λ)) Uᵀ of the centred X = U diag(s) Vᵀ.
    """
    n, offset = len(X), Y.mean(0)
    U, s, _ = np.linalg.svd(X - X.mean(0), full_matrices=False)
    parts = []
    for strength in strengths:
        kept = s * _inverted(s, strength, n)
        residual = Y - offset - U @ (kept[:, None] * (U.T @ (Y - offset)))
        leverage = 1 / n + U**2 @ kept
        parts.append(Y - residual / np.maximum(1 - leverage, 1e-12)[:, None])
    return np.stack(parts)


def _inverted(s: FloatArray, strength: float, rows: int) -> FloatArray:
    """Return s / (s² + λ), 0 for singular values at the level of rounding noise."""
    noise = s.max(initial=0.0) * max(rows, len(s)) * np.finfo(np.float64).eps
    penalty = strength * float((s**2).sum()) / rows
    return np.divide(s, s**2 + penalty, out=np.zeros_like(s), where=s > noise)


def rbf(A: FloatArray, B: FloatArray, bandwidth: float) -> FloatArray:
    """Return exp(−‖a − b‖² / 2h²), [n, l], of rows A [n, D] and B [l, D] and the bandwidth h."""
    kernel: FloatArray = np.exp(squared_distances(A, B) / (-2 * bandwidth**2))
    return kernel


def squared_distances(A: FloatArray, B: FloatArray) -> FloatArray:
    """Return ‖a − b‖², [n, l], clipped at 0 against rounding."""
    found = (A**2).sum(1)[:, None] + (B**2).sum(1) - 2 * (A @ B.T)
    positive: FloatArray = np.maximum(found, 0.0)
    return positive


def median_distance(X: FloatArray) -> float:
    """Return the median distance between two rows of X (among the first BANDWIDTH_ROWS); 1 if that is 0."""
    X = X[:BANDWIDTH_ROWS]
    found = np.sqrt(squared_distances(X, X)[np.triu_indices(len(X), 1)])
    return float(np.median(found)) if len(found) and np.median(found) > 0 else 1.0


def kernel_ridge(X: FloatArray, Y: FloatArray, strength: float = DELTA, bandwidth: float | None = None) -> KernelRidge:
    """Fit Y [l, K] by W = (K(X, X) + strength · mean(diag) · I)⁻¹ Y, with the RBF kernel K; there is no intercept.

    The bandwidth is the median distance between rows unless given. With strength → 0 the fit returns Y at X, as long
    as no two rows are the same.
    """
    width = median_distance(X) if bandwidth is None else bandwidth
    gram = rbf(X, X, width)
    gram[np.diag_indices_from(gram)] = 1 + strength  # the diagonal is 1, and so is its mean
    weights: FloatArray = np.linalg.solve(gram, Y).astype(np.float64)
    return KernelRidge(X, weights, width)


def kernel_left_out(X: FloatArray, Y: FloatArray, strengths: Sequence[float], bandwidth: float) -> FloatArray:
    """Return the leave-one-out predictions of `kernel_ridge` for each row, [strengths, l, K].

    Exact: y_i − w_i / M_ii, M = (K + strength · I)⁻¹ and w = M Y, by one eigendecomposition for all strengths.
    """
    values, V = np.linalg.eigh(rbf(X, X, bandwidth))
    rotated, squares = V.T @ Y, V**2
    parts = []
    for strength in strengths:
        inverse = 1 / (np.maximum(values, 0.0) + strength)
        parts.append(Y - (V @ (inverse[:, None] * rotated)) / (squares @ inverse)[:, None])
    return np.stack(parts)
