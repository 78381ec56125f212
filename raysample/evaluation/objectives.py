"""Objectives of a comparison as functions of predictions, each with the influence of every test row.

The influence of a row in an objective θ is N · ∂θ/∂w at weights w of 1 for each of the N rows: the sum of the squared
influences over N² is the variance of θ over draws of the test rows (linearisation, the infinitesimal jackknife). For
the accuracy it equals the variance of a share, and for paired differences McNemar's.

A class or group with few test rows on which both models are correct has influence 0, as if its recall were known for
certain. Each objective therefore has a `floor`, the variance that two more rows would add on which the models disagree,
one either way: 1/(n + 2)² for a share of n rows. Source: Agresti and Min 2005, "Simple improved confidence intervals
for comparing matched proportions", who add a half to each of the four cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from raysample.core.arrays import FloatArray, IntArray, Mask
from raysample.evaluation.predictions import Predictions

Objective = Literal["accuracy", "macro_f1", "worst_group"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "worst_group": "worst group's recall"}


@dataclass(frozen=True)
class Estimates:
    """An objective of S runs of one arm on the same N rows.

    Attributes:
        values: of each run [..., S].
        influence: of each row [..., S, N], with mean 0 over the rows.
        floor: lower bound of the variance over rows, whatever the influences.
    """

    values: FloatArray
    influence: FloatArray
    floor: float

    @property
    def rows(self) -> int:
        """Number of test rows."""
        return int(self.influence.shape[-1])


def estimates(objective: str, runs: Sequence[Predictions]) -> Estimates:
    """Return an objective of runs that were tested on the same rows.

    * `accuracy`: share of the rows that are predicted correctly.
    * `macro_f1`: as in `evaluate`.
    * `worst_group`: the smallest recall of a group, or of a class if the rows have no groups.
    * any other name: the accuracy on the rows of the mask of that name.
    """
    if objective in _BY_NAME:
        found = [_BY_NAME[objective](run) for run in runs]
    else:
        found = [_share(run, run.masks[objective]) for run in runs]
    values, influence, floors = zip(*found, strict=True)
    return Estimates(np.array(values), np.stack(influence), max(floors))


_Found = tuple[float, FloatArray, float]


def _hits(run: Predictions) -> FloatArray:
    """Return whether each row is predicted correctly, [N] float64."""
    return np.asarray(run.gold == run.predicted, dtype=np.float64)


def _accuracy(run: Predictions) -> _Found:
    """Return the accuracy with its influences and floor."""
    return _share(run, np.ones(len(run), np.bool_))


def _share(run: Predictions, mask: Mask) -> _Found:
    """Return the share of correct rows in a mask of n rows; a row's influence is N/n · (hit − share), 0 outside."""
    hits, count = _hits(run), int(mask.sum())
    value = float(hits[mask].mean())
    return value, np.where(mask, (hits - value) * (len(run) / count), 0.0), 1 / (count + 2) ** 2


def _macro_f1(run: Predictions) -> _Found:
    """Return macro-F1: F_c = 2TP/(G + P), ∂F_c/∂w_i = (2·hit_i·[i of c] − F_c·([gold c] + [pred c])) / (G + P)."""
    size = 1 + max(int(run.gold.max()), int(run.predicted.max()))
    gold, predicted = (np.bincount(codes, minlength=size) for codes in (run.gold, run.predicted))
    hits = _hits(run)
    both = np.maximum(gold + predicted, 1)
    f1 = 2 * np.bincount(run.gold, weights=hits, minlength=size) / both
    present = int((gold + predicted > 0).sum())
    # A row contributes to two classes: its gold class and its predicted class.
    slope = (2 * hits - f1[run.gold]) / both[run.gold] - f1[run.predicted] / both[run.predicted]
    floor = float((1 / (gold[gold > 0] + 2) ** 2).sum()) / present**2
    return float(f1.sum() / present), slope * (len(run) / present), floor


def _worst_group(run: Predictions) -> _Found:
    """Return the smallest recall with the influences of that group alone, which overestimates the variance at ties."""
    codes: IntArray = run.gold if run.group is None or (run.group < 0).all() else run.group
    inside = codes >= 0
    rows = np.bincount(codes[inside])
    right = np.bincount(codes[inside], weights=_hits(run)[inside])
    recall = np.divide(right, rows, out=np.full(len(rows), np.inf), where=rows > 0)
    return _share(run, codes == int(recall.argmin()))


_BY_NAME: dict[str, Callable[[Predictions], _Found]] = {
    "accuracy": _accuracy,
    "macro_f1": _macro_f1,
    "worst_group": _worst_group,
}
