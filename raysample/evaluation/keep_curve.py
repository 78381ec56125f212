"""Keep curve: accuracy against the kept share, and the smallest share whose loss is within a tolerance.

The curve of an arm is an exponential approach to a plateau, accuracy(f) = a − b·exp(−c·f), with b >= 0 and c > 0,
fitted by least squares to all runs of the arm and those on the full data (f = 1). The form is that of Khera, Ghosh and
Dutta, 2024 (arXiv 2411.10545). For each c of a grid the best a and b have a closed form, so the fit always converges.

The accuracy is that on validation rows: a share that was chosen by the test would be judged by what chose it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import FloatArray
from raysample.core.errors import SelectionError
from raysample.evaluation import FULL
from raysample.evaluation.arm_summary import RunResult

RATES = np.geomspace(0.3, 300, 400)
"""Grid of c: from nearly a straight line to a plateau within a hundredth of the data."""
GRID = np.arange(1, 1001) / 1000
RESAMPLES = 1000
INNER = (5.0, 95.0)


@dataclass(frozen=True)
class KeepCurve:
    """accuracy(f) = plateau − drop · exp(−rate · f)."""

    plateau: float
    drop: float
    rate: float

    def __call__(self, fraction: FloatArray) -> FloatArray:
        """Return the accuracy at shares of the rows, [n]."""
        result: FloatArray = self.plateau - self.drop * np.exp(-self.rate * fraction)
        return result


@dataclass(frozen=True)
class Recommendation:
    """The smallest share that an arm may keep.

    Attributes:
        arm: name of the arm.
        fraction: smallest share whose expected loss against all rows is within the tolerance; never below the smallest
            measured share.
        low, high: middle 90 % of the fractions over resampled seeds; NaN for a single seed.
        loss: expected loss of accuracy at `fraction`.
        curve: the fit.
        measured: (share, mean accuracy) of the measured shares, on validation rows as all of these.
    """

    arm: str
    fraction: float
    low: float
    high: float
    loss: float
    curve: KeepCurve
    measured: tuple[tuple[float, float], ...]


def fit_keep_curve(fraction: FloatArray, accuracy: FloatArray) -> KeepCurve:
    """Fit the curve to points `fraction`, `accuracy`, [n] each, by least squares."""
    # For each rate the model is linear in exp(-rate f): ordinary least squares, with drop clipped to be non-negative.
    shape = np.exp(-RATES[:, None] * fraction)
    centred = shape - shape.mean(1, keepdims=True)
    scatter = (centred**2).sum(1)
    drop = np.maximum(-(centred @ accuracy) / np.where(scatter > 0, scatter, 1), 0)
    plateau = accuracy.mean() + drop * shape.mean(1)
    residuals = ((plateau[:, None] - drop[:, None] * shape - accuracy) ** 2).sum(1)
    best = int(np.argmin(residuals))
    return KeepCurve(float(plateau[best]), float(drop[best]), float(RATES[best]))


def recommend(runs: Iterable[RunResult], tolerance: float, seed: int = 0) -> tuple[Recommendation, ...]:
    """Recommend a share to keep for every arm that was measured at three shares or more, by the validation rows alone.

    Args:
        runs: the runs of a comparison, including those on the full data, all in one regime: `Comparison.runs`. Those at
            equal steps, which stand beside them at small shares, are left out, since a curve through both would mix
            the loss of rows with the length of the training.
        tolerance: acceptable loss of accuracy, in (0, 1): 0.01 is one percentage point.
        seed: of the resampling.

    Raises:
        SelectionError: no arm has three shares, there are no runs on the full data, the runs have no results on
            validation rows, or the tolerance is outside (0, 1).
    """
    if not 0 < tolerance < 1:
        raise SelectionError(f"the tolerance is {tolerance!r}", "give a loss of accuracy in (0, 1), such as 0.01")
    known = list(runs)
    full = [run for run in known if run.arm == FULL]
    arms = dict.fromkeys(run.arm for run in known if run.arm != FULL)
    shares = {arm: {run.fraction for run in known if run.arm == arm} for arm in arms}
    enough = [arm for arm in arms if len(shares[arm]) >= 3]
    if not full or not enough:
        raise SelectionError(
            f"a curve takes three shares and the full data, there are {max(map(len, shares.values()), default=0)}",
            "compare at more of them: compare.fractions=[0.2, 0.4, 0.6, 0.8]",
        )
    if any("accuracy" not in run.validation for run in known):
        raise SelectionError(
            "the comparison has no results on validation rows, and a share is not chosen by the test",
            "set corpus.validation, such as 0.1, and run the comparison under another name",
        )
    return tuple(_of_arm(arm, full, [run for run in known if run.arm == arm], tolerance, seed) for arm in enough)


def _of_arm(
    arm: str, full: Sequence[RunResult], runs: Sequence[RunResult], tolerance: float, seed: int
) -> Recommendation:
    """Return the recommendation for one arm."""
    points = [*full, *runs]
    fraction = np.array([run.fraction for run in points])
    accuracy = np.array([run.validation["accuracy"] for run in points])
    seeds = np.array([run.seed for run in points])
    curve, least = fit_keep_curve(fraction, accuracy), min(run.fraction for run in runs)
    share = _smallest(curve, tolerance, least)
    low, high = _interval(fraction, accuracy, seeds, tolerance, least, seed)
    loss = float(curve(np.ones(1))[0] - curve(np.array([share]))[0])
    means = tuple((float(f), float(accuracy[fraction == f].mean())) for f in np.unique(fraction))
    return Recommendation(arm, share, low, high, loss, curve, means)


def _smallest(curve: KeepCurve, tolerance: float, least: float) -> float:
    """Return the smallest share on a grid whose loss is within the tolerance, at least `least`."""
    loss = curve(np.ones(1)) - curve(GRID)
    return max(least, float(GRID[int(np.argmax(loss <= tolerance + 1e-12))]))


def _interval(
    fraction: FloatArray, accuracy: FloatArray, seeds: npt.NDArray[np.int64], tolerance: float, least: float, seed: int
) -> tuple[float, float]:
    """Return percentiles of the share over resampled seeds: all runs of a seed are drawn together."""
    names = np.unique(seeds)
    if len(names) < 2:
        return math.nan, math.nan
    rng, found = np.random.default_rng(seed), []
    for _ in range(RESAMPLES):
        at = np.concatenate([np.flatnonzero(seeds == name) for name in rng.choice(names, len(names))])
        found.append(_smallest(fit_keep_curve(fraction[at], accuracy[at]), tolerance, least))
    low, high = np.percentile(found, INNER)
    return float(low), float(high)
