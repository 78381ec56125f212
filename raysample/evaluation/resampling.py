"""The bootstrap: test rows drawn with replacement, again and again, and the intervals that come of it.

A resample draws as many rows as there are, each with the same chance. That is right for a test that was itself drawn
from the texts a model will meet, repeats included: a request that half of the users make *should* be half of the test,
and is no dependency between rows. It is wrong for rows that belong together for another reason (copies that somebody
made, pairs of one premise, turns of one dialogue); for these whole clusters are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy import stats

from raysample.evaluation.result import Bounds
from raysample.evaluation.totals import FloatArray, IntArray, Measured, MetricCells, TestRows, measured

WEIGHTS = 1 << 21
"""Weights that are in memory at a time: 16 MB."""


def replicated(layout: MetricCells, tested: TestRows, units: IntArray | None, replicates: int, seed: int) -> Measured:
    """Return the metrics of `replicates` resamples.

    Args:
        layout, tested: the rows.
        units: cluster of each row, numbered from 0 without gaps; None: each row for itself.
        replicates: how many resamples.
        seed: of the Philox generator that draws them.
    """
    found = [
        measured(layout.of(block), tested)
        for block in resample_counts(len(tested.gold), units, replicates, seed, WEIGHTS)
    ]
    return Measured(
        {name: np.concatenate([one.metrics[name] for one in found]) for name in found[0].metrics},
        np.concatenate([one.recall for one in found], axis=1),
        np.concatenate([one.group_recall for one in found], axis=1),
    )


def resample_counts(rows: int, units: IntArray | None, replicates: int, seed: int, most: int) -> Iterator[FloatArray]:
    """Yield how often each row was drawn, [rows, some resamples] float64, at most `most` numbers at a time.

    The draws do not depend on `most`.
    """
    draw = np.random.Generator(np.random.Philox(key=[seed % 2**63, 0xB007]))
    count = rows if units is None else int(units.max()) + 1
    width = max(1, most // rows)
    for start in range(0, replicates, width):
        block = np.empty((min(width, replicates - start), rows))
        for one in block:
            times = np.bincount(draw.integers(count, size=count, dtype=np.uint32), minlength=count)
            one[:] = times if units is None else times[units]
        yield np.ascontiguousarray(block.T)


def percentile(values: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Return the percentile interval of each row of replicates [K, R]: its (1 ∓ confidence)/2 quantiles, [K] each.

    Quantiles are interpolated linearly. Replicates that are NaN (a class of which no row was drawn) do not count; NaN
    where all are.
    """
    ordered = np.sort(values, axis=1)  # NaN come last
    last = (~np.isnan(values)).sum(axis=1) - 1
    low, high = (_at(ordered, last, share) for share in ((1 - confidence) / 2, (1 + confidence) / 2))
    return low, high


def _at(ordered: FloatArray, last: IntArray, share: float) -> FloatArray:
    place = np.maximum(last, 0) * share
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(last, 0))
    each = np.arange(len(ordered))
    left, right = ordered[each, below], ordered[each, above]
    return np.where(last >= 0, left + (right - left) * (place - below), np.nan)


def reflected(value: float, replicates: FloatArray, confidence: float) -> Bounds:
    """Return the basic bootstrap interval of a quantity that is at least 0: [2θ − q_high, 2θ − q_low], cut off at 0.

    For a sum of absolute values, which noise only makes larger: resamples exceed the estimate θ about as much as the
    estimate exceeds the truth, and the reflection takes that off. The interval may lie below the estimate.
    """
    low, high = percentile(replicates[None], confidence)
    return max(0.0, 2 * value - float(high[0])), max(0.0, 2 * value - float(low[0]))


def wilson(share: float, count: int, confidence: float) -> Bounds:
    """Return Wilson's score interval of a share of `count` trials.

    (p + z²/2n ∓ z √(p(1−p)/n + z²/4n²)) / (1 + z²/n), z the (1 + confidence)/2 quantile of the normal distribution.
    It stands in where all trials went the same way: no resample then differs from another, and a bootstrap would be
    certain of a class with three test rows.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    z = float(stats.norm.ppf((1 + confidence) / 2))
    centre, spread = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    scale = 1 + z * z / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
