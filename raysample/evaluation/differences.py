"""Difference of two arms with both sources of noise: the seeds of the trainings and the rows of the test.

An objective of arm A minus that of arm B, each the mean of S trainings, all tested on the same N rows, has the variance
V_seeds + V_rows:

* V_seeds = (s_A² + s_B²) / S, s² the variance of the objective between the seeds of an arm, as in Welch's test, with
  the degrees of freedom of Welch and Satterthwaite. Trainings count as independent; a correlation between trainings of
  equal seed makes V_seeds too large, never too small. s² is never below Σ_i s_i² / N², its value if the changes of the
  rows from seed to seed were independent: two seeds that happen to have equal accuracy do not prove zero variance.
* V_rows = max(0, Σ_i e_i² / N² − V_both) + floor, e_i the mean over seeds of the difference of row i's influences. For
  the accuracy and one seed the sum is McNemar's (b + c − (b − c)²/N) / N²; the floor is the correction of Agresti and
  Min, see `objectives`. For clustered rows the sum is replaced by the larger of itself and the sum over clusters.
  V_both, Σ_i (s_Ai² + s_Bi²) / (S N²), is the part of the rows that change from seed to seed: V_seeds contains it.

The interval is d ± √(t² V_seeds + z² V_rows), t the quantile of Student's and z that of the normal distribution. As
V_seeds is at least V_both, the interval is never narrower than the test rows alone require, z √(Σ_i e_i² / N² + floor),
and never of width 0.

Sources: Welch 1947, "The generalization of Student's problem when several different population variances are involved";
McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from raysample.core.arrays import FloatArray, IntArray
from raysample.evaluation.objectives import Estimates

_STEPS = 60
_LEAST_P = 1e-12


@dataclass(frozen=True)
class Difference:
    """The mean difference of an objective, and its two variances; arrays of one shape, or single numbers.

    Attributes:
        mean: arm minus baseline.
        seeds: V_seeds. degrees: its degrees of freedom. Both are NaN for a single seed.
        rows: V_rows.
    """

    mean: FloatArray
    seeds: FloatArray
    degrees: FloatArray
    rows: FloatArray

    def half_width(self, level: float) -> FloatArray:
        """Return half the width of the two-sided interval with error probability `level`; NaN for one seed."""
        return np.sqrt(_width_squared(self, np.full(np.shape(self.mean), level)))

    def bounds(self, confidence: float) -> tuple[FloatArray, FloatArray]:
        """Return the lower and the upper end of the interval."""
        half = self.half_width(1 - confidence)
        return self.mean - half, self.mean + half

    def p_value(self, than: float = 0.0) -> FloatArray:
        """Return the one-sided p-value of "the difference is larger than `than`"; NaN for one seed.

        Inverts the interval by bisection in ln(level): p is half the level at which one end of the interval is `than`.
        """
        away = np.asarray(self.mean - than, dtype=np.float64)
        low, high = np.full(away.shape, np.log(_LEAST_P)), np.zeros(away.shape)
        # The interval widens as the level falls: bisect for the level at which its end meets `than`.
        for _ in range(_STEPS):
            middle = (low + high) / 2
            wide = _width_squared(self, np.exp(middle)) > away**2
            low, high = np.where(wide, middle, low), np.where(wide, high, middle)
        half = np.exp(high) / 2
        found: FloatArray = np.where(away > 0, half, 1 - half)
        return np.where(np.isnan(self.degrees), np.nan, found)

    def two_sided(self) -> FloatArray:
        """Return the two-sided p-value of "there is a difference"; NaN for one seed."""
        above = self.p_value()
        return 2 * np.minimum(above, 1 - above)


def _width_squared(estimate: Difference, level: FloatArray) -> FloatArray:
    """Return the squared half width of the interval with error probability `level`."""
    tail = 1 - level / 2
    # special functions instead of scipy.stats: the argument checks there dominate the bisection's time
    widened: FloatArray = (
        special.stdtrit(estimate.degrees, tail) ** 2 * estimate.seeds + special.ndtri(tail) ** 2 * estimate.rows
    )
    return widened


def difference(ours: Estimates, theirs: Estimates, clusters: IntArray | None = None) -> Difference:
    """Return the difference of arm `ours` minus arm `theirs`, over equally many seeds and the same rows.

    Args:
        ours, theirs: values [..., S] and influences [..., S, N].
        clusters: cluster of each row [N], numbered from 0 without gaps; None for independent rows.
    """
    mean = ours.values.mean(axis=-1) - theirs.values.mean(axis=-1)
    apart = variance_over_rows(ours.influence.mean(axis=-2) - theirs.influence.mean(axis=-2), clusters)
    floor, count = max(ours.floor, theirs.floor), ours.values.shape[-1]
    if count < 2:
        nothing = np.full(mean.shape, np.nan)
        return Difference(mean, nothing, nothing, apart + floor)
    both = [each.influence.var(axis=-2, ddof=1).sum(axis=-1) / each.rows**2 for each in (ours, theirs)]
    observed = [each.values.var(axis=-1, ddof=1) for each in (ours, theirs)]
    # The observed variance between seeds, but never less than independent rows would give.
    one, other = (np.maximum(a, b) / count for a, b in zip(observed, both, strict=True))
    whole, squares = np.asarray(one + other), np.asarray(one**2 + other**2)
    # If neither arm varies between seeds, V_seeds is 0 and any degrees of freedom do.
    degrees = np.divide(whole**2, squares, out=np.ones(whole.shape), where=squares > 0) * (count - 1)
    rows = np.maximum(0.0, apart - (both[0] + both[1]) / count) + floor
    return Difference(mean, whole, np.asarray(degrees), rows)


def variance_over_rows(apart: FloatArray, clusters: IntArray | None) -> FloatArray:
    """Return Σ_i e_i² / N² over rows, or the larger value over clusters, [...]."""
    rows = apart.shape[-1]
    alone = (apart**2).sum(axis=-1) / rows**2
    if clusters is None:
        return np.asarray(alone)
    # The factor K / (K - 1) corrects the variance of K cluster sums for their estimated mean.
    sums = np.bincount(clusters, weights=apart)
    together = (sums**2).sum() / rows**2 * len(sums) / max(len(sums) - 1, 1)
    return np.asarray(np.maximum(alone, together))


def holm(p_values: FloatArray) -> FloatArray:
    """Return p-values [..., m], corrected for m tests along the last axis.

    The j-th smallest, counted from 0, is multiplied by m − j, made monotone and capped at 1. Rejecting p < α then has a
    family-wise error rate of at most α under any dependence of the tests. NaN counts as 1.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    given = np.where(np.isnan(p_values), 1.0, p_values)
    order = np.argsort(given, axis=-1, kind="stable")
    factors = np.arange(given.shape[-1], 0, -1)
    rising = np.maximum.accumulate(np.take_along_axis(given, order, axis=-1) * factors, axis=-1)
    result = np.empty_like(given)
    np.put_along_axis(result, order, np.minimum(rising, 1.0), axis=-1)
    return result
