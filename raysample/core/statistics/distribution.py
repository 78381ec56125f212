"""One column of one class, group or table: exact moments, and quantiles within one bin.

Bins are the leading 16 bits of a float32 in its order-preserving form: sign, exponent and 7 bits of the mantissa, so a
bin is at most 1/128 (0.8 %) of its values wide. Integers below 256 have one bin each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import FloatArray, IntArray
from raysample.core.numerics.exact_totals import rounded_correlation, rounded_deviation, rounded_mean
from raysample.core.numerics.radix import BITS, ordered, restored

RELATIVE_WIDTH = 1 / 128


def bins_of(values: npt.NDArray[np.float32]) -> IntArray:
    """Return the bin of each value, [n] in [0, 2^16), of the same order."""
    return (ordered(values) >> np.uint32(BITS)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Distribution:
    """The values of one column over some rows.

    Attributes:
        rows: number of rows. low, high: smallest and largest value, exact.
        whole: whether all values are integers.
        total, squares, lengths: Σx, Σx² and Σx·tokens, exact integers in the unit of `exact_totals`.
        bins, counts: [m] the non-empty bins, rising, and their row counts.
    """

    rows: int
    low: float
    high: float
    whole: bool
    total: int
    squares: int
    lengths: int
    bins: IntArray
    counts: IntArray

    @property
    def mean(self) -> float:
        """The mean, rounded once; NaN without rows."""
        return rounded_mean(self.total, self.rows)

    @property
    def deviation(self) -> float:
        """The population standard deviation; NaN without rows."""
        return rounded_deviation(self.total, self.squares, self.rows)

    def length_correlation(self, tokens: Distribution) -> float:
        """Return Pearson's correlation with the token count of the same rows; NaN if either is constant."""
        sums = (self.total, tokens.total, self.squares, tokens.squares, self.lengths)
        return rounded_correlation(*sums, self.rows)

    @cached_property
    def _spans(self) -> tuple[FloatArray, FloatArray]:
        """The lower and upper ends of the bins [m], limited to possible values."""
        words = self.bins.astype(np.uint32) << np.uint32(BITS)
        lower, upper = restored(words).astype(np.float64), restored(words | np.uint32(0xFFFF)).astype(np.float64)
        if self.whole:
            lower, upper = np.ceil(lower), np.floor(upper)
        return np.clip(lower, self.low, self.high), np.clip(upper, self.low, self.high)

    def quantile(self, share: float) -> float:
        """Return the value at position ⌈share · rows⌉ in rising order; NaN without rows.

        The error is below the width of its bin, 1/128 of the value, and zero for integers below 256.
        """
        if not self.rows:
            return float("nan")
        place = int(np.clip(np.ceil(share * self.rows), 1, self.rows))
        upto = np.cumsum(self.counts)
        at = int(np.searchsorted(upto, place))
        inside = (place - (upto[at] - self.counts[at]) - 0.5) / self.counts[at]
        lower, upper = (float(end[at]) for end in self._spans)
        found = lower + inside * (upper - lower)
        return float(round(found)) if self.whole else found

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """Return several quantiles."""
        return [self.quantile(share) for share in shares]

    def between(self, edges: FloatArray) -> FloatArray:
        """Return the number of rows between rising edges, [len(edges) - 1].

        Rows outside count in the outermost intervals.

        Rows are assumed evenly distributed inside a bin that an edge cuts.
        """
        lower, upper = self._spans
        if self.whole:
            points = np.clip((lower + upper) / 2, edges[0], edges[-1])
            return np.histogram(points, bins=edges, weights=self.counts)[0].astype(np.float64)
        upto = np.cumsum(self.counts)
        ends = np.stack([lower, upper], axis=1).ravel()
        below = np.interp(edges, ends, np.stack([upto - self.counts, upto], axis=1).ravel())
        below[0], below[-1] = 0, self.rows
        return np.diff(below)
