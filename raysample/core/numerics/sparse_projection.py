"""Truncated singular value decomposition of a sparse matrix, by random projection and power iterations.

Source: Halko, Martinsson and Tropp 2011, "Finding structure with randomness", SIAM Review 53, algorithms 4.4 and 5.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

OVERSAMPLING = 16
_NOISE = 1e-3
"""Share of the largest singular value below which others are rounding noise: squares of them are in float32."""


def right_singular_vectors(
    matrix: Any, count: int, seed: int = 0, iterations: int = 1
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the largest singular values [K] and their right singular vectors [F, K], K = min(count, rank).

    Memory is F x (K + 16) numbers in float32, beside the matrix. Each vector points to where its largest entry is
    positive; the result depends on the seed only within the error of the approximation.

    Args:
        matrix: [n, F], a scipy sparse matrix of float32.
        count: number of vectors.
        seed: seed of the projection.
        iterations: power iterations; each multiplies twice and sharpens the decay of the spectrum.

    >>> from scipy import sparse
    >>> values, vectors = right_singular_vectors(sparse.csr_array(np.diag([3.0, 1.0, 2.0]).astype(np.float32)), 2)
    >>> values.round(3).tolist(), vectors.round(3).argmax(0).tolist()
    ([3.0, 2.0], [0, 2])
    """
    rows, columns = matrix.shape
    width = min(count + OVERSAMPLING, rows, columns)
    draw = np.random.Generator(np.random.Philox(key=seed)).standard_normal((rows, width), dtype=np.float32)
    # The random matrix has a column per dimension and a row per row of A: texts are far fewer than n-grams.
    basis = np.linalg.qr(draw)[0]
    for _ in range(iterations):
        basis = np.linalg.qr(matrix @ (matrix.T @ basis))[0]
    small = matrix.T @ basis
    # A ≈ Q (AᵀQ)ᵀ: the eigenvectors of (AᵀQ)ᵀ(AᵀQ), [K, K], give the decomposition of the wide matrix.
    values, turn = np.linalg.eigh((small.T @ small).astype(np.float64))
    order = np.argsort(-values, kind="stable")[: min(count, width)]
    sizes = np.sqrt(np.maximum(values[order], 0.0))
    # Beyond the rank of the matrix there is rounding noise, which must not be scaled up to length 1.
    order, sizes = order[sizes > sizes[0] * _NOISE], sizes[sizes > sizes[0] * _NOISE]
    vectors = small @ (turn[:, order] / sizes).astype(np.float32)
    largest = vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])]
    return sizes.astype(np.float32), vectors * np.where(largest < 0, -1, 1).astype(np.float32)
