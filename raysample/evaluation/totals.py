"""All metrics from totals over rows: a resample costs one sparse product and never touches logits.

Every row adds numbers to cells: one to the cell of its gold class, one to that of its prediction, its log-loss to the
cell of all rows, and so on. A resample is a weight vector, the number of times each row was drawn; its totals are the
matrix [cells, rows] times the weights, and its metrics follow from the totals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from raysample.core.arrays import FloatArray, IntArray, Mask
from raysample.evaluation.rarity import NEW_TEXT

CALIBRATION_BINS = 15
"""Number of confidence bins for the calibration error."""


@dataclass(frozen=True)
class TestRows:
    """The N test rows as the metrics need them.

    Attributes:
        gold, predicted: classes [N], below `classes`.
        nll: −ln p of the gold class [N], nats. confidence: p of the predicted class [N].
        masks: name -> rows [N] whose accuracy is reported separately; of new texts also what needs classes.
        rare: classes [C] over which recall is averaged separately.
        group: group [N], below `groups`; −1 for rows without one.
    """

    classes: int
    gold: IntArray
    predicted: IntArray
    nll: FloatArray
    confidence: FloatArray
    masks: Mapping[str, Mask]
    rare: Mask
    group: IntArray
    groups: int


@dataclass(frozen=True)
class MetricCells:
    """The sparse matrix [cells, rows], and the slice of cells of each quantity."""

    matrix: Any
    slices: dict[str, slice]

    def totals(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Return the totals [cells of the quantity, R] of weights [N, R], by quantity."""
        sums = self.matrix @ weights
        return {name: sums[place] for name, place in self.slices.items()}


@dataclass(frozen=True)
class Measured:
    """Metrics [R], recall [C, R] and recall by group [G, R] of R weightings; NaN where a denominator is 0."""

    metrics: dict[str, FloatArray]
    recall: FloatArray
    group_recall: FloatArray


def cells(tested: TestRows) -> MetricCells:
    """Return the matrix of the contributions of every row to every cell."""
    rows = len(tested.gold)
    here, one = np.zeros(rows, np.int64), np.ones(rows)
    hit = (tested.gold == tested.predicted).astype(np.float64)
    grouped, group = (tested.group >= 0).astype(np.float64), np.maximum(tested.group, 0)
    parts = {
        "rows": (here, one, 1),
        "hits": (here, hit, 1),
        "nll": (here, tested.nll, 1),
        "gap": (bins(tested.confidence), hit - tested.confidence, CALIBRATION_BINS),
        "gold": (tested.gold, one, tested.classes),
        "predicted": (tested.predicted, one, tested.classes),
        "true": (tested.gold, hit, tested.classes),
        "group rows": (group, grouped, tested.groups),
        "group hits": (group, grouped * hit, tested.groups),
    }
    for name, mask in tested.masks.items():
        parts |= {f"{name} rows": (here, mask * 1.0, 1), f"{name} hits": (here, mask * hit, 1)}
    if NEW_TEXT in tested.masks:
        new, size = tested.masks[NEW_TEXT], tested.classes
        parts |= {
            f"{NEW_TEXT} gold": (tested.gold, new * 1.0, size),
            f"{NEW_TEXT} predicted": (tested.predicted, new * 1.0, size),
            f"{NEW_TEXT} true": (tested.gold, new * hit, size),
        }
    # Quantities occupy consecutive rows of the matrix; entries of 0 are dropped to keep it sparse.
    ends = np.cumsum([size for _, _, size in parts.values()])
    slices = {name: slice(int(end) - parts[name][2], int(end)) for name, end in zip(parts, ends, strict=True)}
    filled = [name for name, (_, _, size) in parts.items() if size]
    places = np.concatenate([parts[name][0] + slices[name].start for name in filled])
    values = np.concatenate([parts[name][1] for name in filled])
    kept = values != 0
    at = np.tile(np.arange(rows), len(filled))
    matrix = sparse.csr_array((values[kept], (places[kept], at[kept])), shape=(int(ends[-1]), rows))
    return MetricCells(matrix, slices)


def bins(confidence: FloatArray) -> IntArray:
    """Return the calibration bin of each confidence: `CALIBRATION_BINS` of equal width, 1 in the last."""
    return np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def measured(totals: Mapping[str, FloatArray], tested: TestRows) -> Measured:
    """Return the metrics computed from totals; `evaluate` gives the definitions."""
    rows = totals["rows"][0]
    recall = _ratio(totals["true"], totals["gold"])
    group_recall = _ratio(totals["group hits"], totals["group rows"])
    # Worst values are reported without intervals, see `evaluate`.
    metrics = {
        "accuracy": totals["hits"][0] / rows,
        "macro_f1": _mean(_ratio(2 * totals["true"], totals["gold"] + totals["predicted"])),
        "nll": totals["nll"][0] / rows,
        "calibration_error": np.abs(totals["gap"]).sum(axis=0) / rows,
        "worst_class_recall": _least(recall),
    }
    if tested.rare.any():
        metrics["rare_class_recall"] = _mean(recall[tested.rare])
    for name in tested.masks:
        metrics[f"{name}_accuracy"] = _ratio(totals[f"{name} hits"], totals[f"{name} rows"])[0]
    if NEW_TEXT in tested.masks:
        gold, predicted, true = (totals[f"{NEW_TEXT} {name}"] for name in ("gold", "predicted", "true"))
        metrics[f"{NEW_TEXT}_macro_f1"] = _mean(_ratio(2 * true, gold + predicted))
        metrics[f"{NEW_TEXT}_worst_class_recall"] = _least(_ratio(true, gold))
    if tested.groups:
        metrics |= {"group_recall": _mean(group_recall), "worst_group_recall": _least(group_recall)}
    return Measured(metrics, recall, group_recall)


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Return part / whole, NaN where whole is 0."""
    result: FloatArray = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return result


def _mean(values: FloatArray) -> FloatArray:
    """Return the mean over the first axis, ignoring NaN; NaN where all are."""
    present = ~np.isnan(values)
    return _ratio(np.where(present, values, 0.0).sum(axis=0), present.sum(axis=0).astype(np.float64))


def _least(values: FloatArray) -> FloatArray:
    """Return the minimum over the first axis, ignoring NaN; NaN where all are."""
    least: FloatArray = np.where(np.isnan(values), np.inf, values).min(axis=0)
    return np.asarray(np.where(np.isinf(least), np.nan, least))
