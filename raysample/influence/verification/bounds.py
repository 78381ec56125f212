"""The largest accepted difference between stored scores and the slow twin's, and the measured difference."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from raysample.core.statistics.rank_correlation import spearman_float32
from raysample.influence.scores import Score

Precision = Literal["float32", "bfloat16"]

RELATIVE = 1e-3
"""Bound of the largest relative difference of a score in float32."""

CORRELATION: dict[Precision, float] = {"float32": 0.999, "bfloat16": 0.95}
"""Smallest Spearman rank correlation over the sample."""

DIFFERING = 0.02
"""Largest share of rows whose count differs, for discrete scores in float32."""


@dataclass(frozen=True)
class Check:
    """The comparison of one column with the slow twin.

    Attributes:
        column, score: column name and score name.
        rows: number of rows compared.
        absolute: largest |a - b|, a stored and b from the slow twin; None if the twin's value of a row is not finite.
        relative: largest |a - b| / max(|b|, median |b|): rows with a score near zero are measured by the median size.
        correlation: Spearman rank correlation; None if all values are equal.
        differing: share of rows with different counts, for the scores that count.
        bound: description of the bound.
        passed: whether the bound was met.
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
    column: str, score: Score[Any], stored: NDArray[np.float64], again: NDArray[np.float64], precision: Precision
) -> Check:
    """Compare a stored column [rows] with the slow twin's values [rows] under the bounds of a precision.

    In bfloat16 only the rank correlation has a bound: single values may differ in their third digit.
    """
    bound = _bound(score, precision)
    if not np.isfinite(again).all():
        return Check(column, score.name, len(again), None, None, None, None, f"{bound}; the twin is not finite", False)
    difference = np.abs(stored - again)
    relative = float((difference / np.maximum(np.abs(again), _scale(again))).max())
    correlation = spearman_float32(stored, again)
    differing = float((difference > 1e-6).mean()) if score.discrete else None
    ranked = correlation is None or correlation >= CORRELATION[precision]
    if precision == "bfloat16":
        passed = ranked
    elif differing is not None:
        passed = differing <= DIFFERING
    else:
        passed = ranked and relative <= RELATIVE
    return Check(
        column, score.name, len(again), float(difference.max()), relative, correlation, differing, bound, passed
    )


def _bound(score: Score[Any], precision: Precision) -> str:
    """Describe the bound of a score in a precision."""
    ranks = f"rank correlation at least {CORRELATION[precision]:g}"
    if precision == "bfloat16":
        return f"{ranks} (the only bound in bfloat16)"
    if score.discrete:
        return f"at most {DIFFERING:.0%} of the rows differ"
    return f"relative difference at most {RELATIVE:g}, {ranks}"


def _scale(values: NDArray[np.float64]) -> float:
    """Return the median |value|, or the largest one if that is 0; positive."""
    size = np.abs(values)
    return float(np.median(size)) or float(size.max()) or 1.0
