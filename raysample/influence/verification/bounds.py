"""How far a stored score may be from the slow twin's, and how far it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Precision = Literal["float32", "bfloat16"]

RELATIVE = 1e-3
"""Bound of the largest relative difference of a score in float32."""

CORRELATION: dict[Precision, float] = {"float32": 0.999, "bfloat16": 0.95}
"""Least Spearman rank correlation over the sample."""

DIFFERING = 0.02
"""Largest share of rows whose count differs, for the scores of STEPS in float32."""

STEPS = frozenset({"forgetting", "correctness", "knn_label_disagreement"})
"""Scores that count: rounding moves them by whole steps, in the few rows that stand on an edge, or not at all."""


@dataclass(frozen=True)
class Check:
    """What the slow twin says about one column.

    Attributes:
        column, score: where it is stored, and which score it is.
        rows: how many were compared.
        absolute: largest |a - b|, a stored and b from the slow twin; None if the twin has no finite value for a row.
        relative: largest |a - b| / max(|b|, median |b|): rows whose score is next to nothing are measured by the usual
            size of the score.
        correlation: Spearman rank correlation; None where all values are equal.
        differing: share of rows with different counts, for the scores that count.
        bound: in words, what was asked for.
        passed: whether it was met.
    """

    column: str
    score: str
    rows: int
    absolute: float | None
    relative: float | None
    correlation: float | None
    differing: float | None
    bound: str
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return asdict(self)


def compare_column(
    column: str, score: str, stored: NDArray[np.float64], again: NDArray[np.float64], precision: Precision
) -> Check:
    """Compare a stored column [rows] with the slow twin's values [rows], under the bounds of a precision.

    In bfloat16 only the rank correlation has a bound: single values may well differ in their third digit.
    """
    told = _bound(score, precision)
    if not np.isfinite(again).all():
        return Check(column, score, len(again), None, None, None, None, f"{told}; the twin is not finite", False)
    difference = np.abs(stored - again)
    relative = float((difference / np.maximum(np.abs(again), _scale(again))).max())
    correlation = _spearman(stored, again)
    differing = float((difference > 1e-6).mean()) if score in STEPS else None
    ranked = correlation is None or correlation >= CORRELATION[precision]
    if precision == "bfloat16":
        passed = ranked
    elif differing is not None:
        passed = differing <= DIFFERING
    else:
        passed = ranked and relative <= RELATIVE
    return Check(column, score, len(again), float(difference.max()), relative, correlation, differing, told, passed)


def _bound(score: str, precision: Precision) -> str:
    ranks = f"rank correlation at least {CORRELATION[precision]:g}"
    if precision == "bfloat16":
        return f"{ranks} (the only bound in bfloat16)"
    if score in STEPS:
        return f"at most {DIFFERING:.0%} of the rows differ"
    return f"relative difference at most {RELATIVE:g}, {ranks}"


def _scale(values: NDArray[np.float64]) -> float:
    size = np.abs(values)
    return float(np.median(size)) or float(size.max()) or 1.0


def _spearman(stored: NDArray[np.float64], again: NDArray[np.float64]) -> float | None:
    # In the resolution of the table, or values that float32 cannot tell apart would count as ranked wrongly.
    rounded = again.astype(np.float32)
    if len(rounded) < 2 or np.ptp(stored) == 0 or np.ptp(rounded) == 0:
        return None
    return float(stats.spearmanr(stored, rounded).statistic)
