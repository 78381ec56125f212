"""How far two arms lie apart, with both sources of noise: the seeds of the trainings and the rows of the test.

An objective of arm A minus that of arm B, each the mean of S trainings, all tested on the same N rows, has the variance
V_seeds + V_rows:

* V_seeds = (s_A² + s_B²) / S, s² the variance of the objective between the seeds of an arm: Welch's, with the degrees
  of freedom of Welch and Satterthwaite. Trainings count as independent; pairs of equal seeds that resemble each other
  make it too large, never too small. s² is never below Σ_i s_i² / N², what the rows' own changes from seed to seed come
  to if they were independent of each other: two seeds of the same accuracy by chance do not prove that seeds are equal.
* V_rows = max(0, Σ_i e_i² / N² − V_both) + floor, e_i the mean over the seeds of the difference of row i's influences.
  The sum is, for the accuracy and one seed, McNemar's (b + c − (b − c)²/N) / N²; the floor is the correction of Agresti
  and Min, see `objectives`. Where rows come in clusters it is the larger one of that sum and of the same over the
  clusters. V_both, Σ_i (s_Ai² + s_Bi²) / (S N²), is the part of rows that change from seed to seed: V_seeds has it too.

The interval is d ± √(t² V_seeds + z² V_rows), t of Student's distribution and z of the normal one. As V_seeds is at
least V_both, it is never narrower than the test rows alone allow, z √(Σ_i e_i² / N² + floor), and never of width 0.

Sources: Welch 1947, "The generalization of Student's problem when several different population variances are involved";
McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from raysample.evaluation.objectives import Estimates
from raysample.evaluation.totals import FloatArray, IntArray

_STEPS = 60
_LEAST_P = 1e-12


@dataclass(frozen=True)
class Difference:
    """The mean difference of an objective, and its two variances; arrays of one shape, or single numbers.

    `degrees`: of freedom, of `seeds`; both are NaN for a single seed.
    """

    mean: FloatArray
    seeds: FloatArray
    degrees: FloatArray
    rows: FloatArray

    def half_width(self, level: float) -> FloatArray:
        """Return half the width of the two-sided interval that misses with probability `level`; NaN for one seed."""
        return np.sqrt(_width_squared(self, np.full(np.shape(self.mean), level)))

    def bounds(self, confidence: float) -> tuple[FloatArray, FloatArray]:
        """Return the ends of the interval."""
        half = self.half_width(1 - confidence)
        return self.mean - half, self.mean + half

    def p_value(self, than: float = 0.0) -> FloatArray:
        """Return the one-sided p-value of "the difference is larger than `than`": where the interval just touches it.

        NaN for one seed.
        """
        away = np.asarray(self.mean - than, dtype=np.float64)
        low, high = np.full(away.shape, np.log(_LEAST_P)), np.zeros(away.shape)
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


def _width_squared(found: Difference, level: FloatArray) -> FloatArray:
    tail = 1 - level / 2
    # The quantiles of Student's and of the normal distribution, without what scipy.stats checks before.
    widened: FloatArray = (
        special.stdtrit(found.degrees, tail) ** 2 * found.seeds + special.ndtri(tail) ** 2 * found.rows
    )
    return widened


def difference(ours: Estimates, theirs: Estimates, clusters: IntArray | None = None) -> Difference:
    """Return how far arm `ours` lies above arm `theirs`, over equally many seeds and the same rows.

    Args:
        ours, theirs: values [..., S] and influences [..., S, N].
        clusters: of each row [N], numbered from 0 without gaps; None: each row for itself.
    """
    mean = ours.values.mean(axis=-1) - theirs.values.mean(axis=-1)
    apart = _over_rows(ours.influence.mean(axis=-2) - theirs.influence.mean(axis=-2), clusters)
    floor, count = max(ours.floor, theirs.floor), ours.values.shape[-1]
    if count < 2:
        nothing = np.full(mean.shape, np.nan)
        return Difference(mean, nothing, nothing, apart + floor)
    both = [each.influence.var(axis=-2, ddof=1).sum(axis=-1) / each.rows**2 for each in (ours, theirs)]
    seen = [each.values.var(axis=-1, ddof=1) for each in (ours, theirs)]
    one, other = (np.maximum(a, b) / count for a, b in zip(seen, both, strict=True))
    whole, squares = np.asarray(one + other), np.asarray(one**2 + other**2)
    # Two arms that no seed changes have nothing that degrees of freedom would be of.
    degrees = np.divide(whole**2, squares, out=np.ones(whole.shape), where=squares > 0) * (count - 1)
    rows = np.maximum(0.0, apart - (both[0] + both[1]) / count) + floor
    return Difference(mean, whole, np.asarray(degrees), rows)


def _over_rows(apart: FloatArray, clusters: IntArray | None) -> FloatArray:
    rows = apart.shape[-1]
    alone = (apart**2).sum(axis=-1) / rows**2
    if clusters is None:
        return np.asarray(alone)
    sums = np.bincount(clusters, weights=apart)
    together = (sums**2).sum() / rows**2 * len(sums) / max(len(sums) - 1, 1)
    return np.asarray(np.maximum(alone, together))


def holm(p_values: FloatArray) -> FloatArray:
    """Return p-values that are corrected for how many there are, [..., m] along the last axis.

    The j-th smallest, counted from 0, times m − j, made rising, at most 1. Rejecting what is below α then rejects one
    true hypothesis or more with probability α at most, however the tests depend on each other. NaN counts as 1.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    given = np.where(np.isnan(p_values), 1.0, p_values)
    order = np.argsort(given, axis=-1, kind="stable")
    factors = np.arange(given.shape[-1], 0, -1)
    rising = np.maximum.accumulate(np.take_along_axis(given, order, axis=-1) * factors, axis=-1)
    found = np.empty_like(given)
    np.put_along_axis(found, order, np.minimum(rising, 1.0), axis=-1)
    return found
