"""Spearman's rank correlation, ties ranked by their mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import FloatArray


def spearman_pair(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Return the rank correlation of two columns [n]; 0 if one is constant, as it then has no ranking.

    >>> round(spearman_pair(np.array([1, 2, 3]), np.array([9, 4, 1])), 6)
    -1.0
    """
    ranks, norms = _centred_ranks((a, b))
    return float(np.clip(ranks[0] @ ranks[1] / norms.prod(), -1.0, 1.0)) if norms.all() else 0.0


def spearman_matrix(columns: Sequence[FloatArray]) -> FloatArray:
    """Return the matrix of rank correlations of columns [n]; NaN for constant columns and missing values."""
    ranks, norms = _centred_ranks(columns)
    norms = np.where(norms > 0, norms, np.nan)
    return np.asarray(np.clip(ranks @ ranks.T / np.outer(norms, norms), -1.0, 1.0))


def spearman_float32(stored: FloatArray, exact: FloatArray) -> float | None:
    """Return the rank correlation of float32 values with exact ones, or None if one side is constant.

    The exact values are rounded to float32 first: values that are equal in float32 must not count as ranked wrongly.
    """
    from scipy import stats  # half a second of every worker's start, were it imported above

    rounded = exact.astype(np.float32)
    if len(rounded) < 2 or np.ptp(stored) == 0 or np.ptp(rounded) == 0:
        return None
    return float(stats.spearmanr(stored, rounded).statistic)


def _centred_ranks(columns: Sequence[npt.NDArray[Any]]) -> tuple[FloatArray, FloatArray]:
    """Return the ranks of each column less their mean [columns, n], and their norms [columns]; NaN stays NaN."""
    from scipy import stats

    ranks = np.stack([stats.rankdata(column, nan_policy="propagate") for column in columns])
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    return centred, np.sqrt((centred**2).sum(axis=1))
