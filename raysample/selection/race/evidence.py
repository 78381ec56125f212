"""Evidence of a race: a candidate minus the incumbent, row by row, with the noise of rows and that of draws.

Every row is judged once per draw, by a probe that was fitted without its fold. With r_i the contribution of row i to an
objective (−log-loss; 1 or 0 for the accuracy; value plus influence for macro-F1 and the worst group,
`evaluation.objectives`) the estimate is the mean over rows of the mean over draws, and its variance has two parts, as
in `evaluation.differences`:

* V_rows = Σ_i e_i² / N², e_i the difference of row i less the mean, without the part that changes from draw to draw.
* V_draws, from the variance between draws within a fold, π_f = n_f / N: Σ_f π_f² s_f² / S of both arms. A lucky draw
  helps many rows at once, so rows alone would understate it.

A candidate that keeps the same rows whatever the seed shows no variance between draws, though the rows that it keeps
may be lucky ones, and lucky in all folds. It is therefore given at least the variance that the incumbent's draws have
beyond that of single rows, u: V_draws >= u · (ρ + (1 − ρ) Σ_f π_f² / S) with ρ the overlap of its draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import FloatArray, IntArray
from raysample.evaluation import OBJECTIVES, Predictions
from raysample.evaluation.differences import Difference, variance_over_rows
from raysample.evaluation.objectives import estimates

RaceObjective = Literal["accuracy", "macro_f1", "worst_group", "log_loss"]
RACE_OBJECTIVES: tuple[RaceObjective, ...] = get_args(RaceObjective)


@dataclass(frozen=True, eq=False)
class RaceRun:
    """An arm's predictions of the N judged rows by S draws: loss and predicted [S, N]; `shared`: ρ of its draws."""

    loss: npt.NDArray[np.float32]
    predicted: IntArray
    shared: float


@dataclass(frozen=True, eq=False)
class RacedRows:
    """The judged rows: gold class and fold [N], optional group and cluster [N]."""

    gold: IntArray
    fold: IntArray
    group: IntArray | None = None
    cluster: IntArray | None = None


def contributions(objective: str, run: RaceRun, rows: RacedRows) -> tuple[FloatArray, float]:
    """Return each row's contribution by draw, [S, N], higher is better, and the least variance of the objective."""
    if objective not in OBJECTIVES:
        return -run.loss.astype(np.float64), 0.0
    found = estimates(objective, [Predictions(rows.gold, each, rows.group) for each in run.predicted])
    return found.values[:, None] + found.influence, found.floor


def race_difference(objective: str, ours: RaceRun, theirs: RaceRun, rows: RacedRows) -> Difference:
    """Return the difference of a candidate (`ours`) to the incumbent (`theirs`), higher is better for the candidate."""
    (mine, floor), (base, other_floor) = (contributions(objective, run, rows) for run in (ours, theirs))
    apart = mine.mean(0) - base.mean(0)
    mean = apart.mean()
    weight = np.unique(rows.fold, return_counts=True)[1] / len(rows.fold)
    own, common = _between_draws(mine, rows.fold)
    base_own, base_common = _between_draws(base, rows.fold)
    spread = float((weight**2).sum())
    luck = max(0.0, float((weight * base_common).sum()))
    observed = float((weight**2 * np.maximum(common, 0)).sum()) / len(mine)
    assumed = luck * (ours.shared + (1 - ours.shared) * spread / len(mine))
    alone = np.array([(weight**2 * own).sum() / len(mine), (weight**2 * base_own).sum() / len(base)])
    draws = np.array([max(observed, assumed), (weight**2 * np.maximum(base_common, 0)).sum() / len(base)]) + alone
    counts = np.array([len(mine) if observed >= assumed else len(base), len(base)]) - 1
    square = float((draws**2 / (counts * len(weight))).sum())
    degrees = draws.sum() ** 2 / square if square else 1.0
    of_rows = max(0.0, float(variance_over_rows(apart - mean, rows.cluster)) - float(alone.sum()))
    parts = (mean, draws.sum(), degrees, of_rows + max(floor, other_floor))
    return Difference(*(np.asarray(part, np.float64) for part in parts))


def _between_draws(values: FloatArray, fold: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return per fold the variance between draws of its mean: the part of single rows, and what is beyond, [F] each."""
    own, beyond = [], []
    for each in np.unique(fold):
        part = values[:, fold == each]
        alone = float(part.var(axis=0, ddof=1).sum()) / part.shape[1] ** 2
        own.append(alone)
        beyond.append(float(part.mean(axis=1).var(ddof=1)) - alone)
    return np.array(own), np.array(beyond)


def probe_gain(incumbent: RaceRun, rows: RacedRows) -> tuple[float, float]:
    """Return by how many nats per row the probe beats the class shares, and the standard error.

    The class shares of the judged rows themselves: no constant prediction is better.
    """
    shares = np.bincount(rows.gold) / len(rows.gold)
    gain = -np.log(shares[rows.gold]) - incumbent.loss.mean(0)
    return float(gain.mean()), float(gain.std() / np.sqrt(len(gain)))


def estimate_of_winners(values: FloatArray, fold: IntArray) -> FloatArray:
    """Return what choosing gains on rows that did not choose, by row, [N]; its mean is the estimate of the gain.

    For each fold the arm that is best on the other folds, or the incumbent (0) if none is better, is judged on this
    fold: free of the winner's curse, which makes the winner's own estimate too large.

    Args:
        values: differences to the incumbent by arm and row, [A, N].
        fold: [N].

    >>> estimate_of_winners(np.array([[1.0, 1.0, 1.0, 1.0], [4.0, 4.0, -4.0, -4.0]]), np.array([0, 0, 1, 1])).tolist()
    [1.0, 1.0, -4.0, -4.0]
    """
    chosen = np.zeros(len(fold))
    for each in np.unique(fold):
        inside = fold == each
        means = values[:, ~inside].mean(axis=1)
        if means.max() > 0:
            chosen[inside] = values[int(means.argmax()), inside]
    return chosen


def mean_and_error(values: FloatArray, cluster: IntArray | None = None) -> tuple[float, float]:
    """Return the mean of differences by row, [N], and its standard error over rows or clusters of rows."""
    mean = float(values.mean())
    return mean, float(np.sqrt(variance_over_rows(values - mean, cluster)))
