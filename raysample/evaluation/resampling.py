"""The bootstrap: test rows drawn with replacement, and intervals from the resamples.

A resample draws as many rows as the test has, each with equal probability. This is right for a test that was itself
drawn from the texts that a model will meet, repeats included: a request from half of the users *should* be half of the
test, and does not make rows dependent. It is wrong for rows that belong together for another reason (copies, pairs of
one premise, turns of one dialogue); for such rows whole clusters are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy import special

from raysample.core.arrays import FloatArray, IntArray
from raysample.data.row_sampling import generator
from raysample.evaluation.result import Bounds
from raysample.evaluation.totals import Measured, MetricCells, TestRows, measured

WEIGHTS_IN_MEMORY = 1 << 21
"""Number of weights in memory at a time: 16 MB."""


def replicated(layout: MetricCells, tested: TestRows, units: IntArray | None, replicates: int, seed: int) -> Measured:
    """Return the metrics of `replicates` resamples.

    Args:
        layout, tested: the rows.
        units: cluster of each row [N], numbered from 0 without gaps; None for independent rows.
        replicates: number of resamples.
        seed: seed of the Philox generator.
    """
    blocks = [
        measured(layout.totals(block), tested)
        for block in resample_counts(len(tested.gold), units, replicates, seed, WEIGHTS_IN_MEMORY)
    ]
    return Measured(
        {name: np.concatenate([one.metrics[name] for one in blocks]) for name in blocks[0].metrics},
        np.concatenate([one.recall for one in blocks], axis=1),
        np.concatenate([one.group_recall for one in blocks], axis=1),
    )


def resample_counts(rows: int, units: IntArray | None, replicates: int, seed: int, most: int) -> Iterator[FloatArray]:
    """Yield how often each row was drawn, [rows, resamples] float64, in blocks of at most `most` numbers.

    The draws do not depend on `most`.
    """
    draw = generator(seed, 0xB007)
    count = rows if units is None else int(units.max()) + 1
    width = max(1, most // rows)
    # Resamples are drawn one after the other, so that the block size does not change the draws.
    for start in range(0, replicates, width):
        block = np.empty((min(width, replicates - start), rows))
        for one in block:
            times = np.bincount(draw.integers(count, size=count, dtype=np.uint32), minlength=count)
            one[:] = times if units is None else times[units]
        yield np.ascontiguousarray(block.T)


def percentile(values: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Return the percentile interval of each row of replicates [K, R]: its (1 ∓ confidence)/2 quantiles, [K] each.

    Quantiles are interpolated linearly. NaN replicates (a class of which no row was drawn) are ignored; the result is
    NaN if all replicates are.
    """
    ordered = np.sort(values, axis=1)  # NaN come last
    last = (~np.isnan(values)).sum(axis=1) - 1
    low, high = (_at(ordered, last, share) for share in ((1 - confidence) / 2, (1 + confidence) / 2))
    return low, high


def _at(ordered: FloatArray, last: IntArray, share: float) -> FloatArray:
    """Return the quantile of each sorted row up to index `last`, interpolated linearly; NaN for an empty row."""
    place = np.maximum(last, 0) * share
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(last, 0))
    each = np.arange(len(ordered))
    left, right = ordered[each, below], ordered[each, above]
    return np.where(last >= 0, left + (right - left) * (place - below), np.nan)


def reflected(value: float, replicates: FloatArray, confidence: float) -> Bounds:
    """Return the basic bootstrap interval of a non-negative quantity: [2θ − q_high, 2θ − q_low], clipped at 0.

    For a sum of absolute values, which noise only increases: resamples exceed the estimate θ by about as much as the
    estimate exceeds the truth, and the reflection removes that bias. The interval may lie below the estimate.
    """
    low, high = percentile(replicates[None], confidence)
    return max(0.0, 2 * value - float(high[0])), max(0.0, 2 * value - float(low[0]))


def wilson(share: float, count: int, confidence: float) -> Bounds:
    """Return Wilson's score interval of a share of `count` trials.

    (p + z²/2n ∓ z √(p(1−p)/n + z²/4n²)) / (1 + z²/n), z the (1 + confidence)/2 quantile of the normal distribution.
    Used if all trials have the same outcome: all resamples are then equal, and a bootstrap interval of a class with
    three test rows would have width 0.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    z = float(special.ndtri((1 + confidence) / 2))
    centre, spread = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    scale = 1 + z * z / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
