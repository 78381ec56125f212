"""Intervals of an evaluation's metrics: which method suits which quantity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raysample.core.arrays import FloatArray, IntArray, Mask
from raysample.evaluation.resampling import percentile, reflected, wilson
from raysample.evaluation.result import NAN, Bounds
from raysample.evaluation.totals import Measured, TestRows


@dataclass(frozen=True)
class Intervals:
    """Computes intervals from the metrics of all rows and of the resamples.

    Attributes:
        tested: the test rows.
        measured: metrics of all rows.
        drawn: metrics of the resamples; None computes no intervals.
        units: cluster of each row [N] if clusters were drawn, else None.
        confidence: of the intervals.
    """

    tested: TestRows
    measured: Measured
    drawn: Measured | None
    units: IntArray | None
    confidence: float

    def of_metrics(self) -> dict[str, Bounds]:
        """Return metric -> interval for every measured metric except the worst of several recalls."""
        names = [name for name, value in self.measured.metrics.items() if not np.isnan(value[0])]
        if self.drawn is None:
            return {}
        return {name: self._of(name, self.drawn.metrics[name]) for name in names if "worst_" not in name}

    def _of(self, name: str, replicates: FloatArray) -> Bounds:
        """Return the interval of one metric: reflected for the calibration error, Wilson for extreme shares."""
        value = self.measured.metrics[name]
        if name == "calibration_error":
            return reflected(float(value[0]), replicates, self.confidence)
        masks = {"accuracy": np.ones(len(self.tested.gold), np.bool_)}
        masks |= {f"{of}_accuracy": mask for of, mask in self.tested.masks.items()}
        if name in masks:
            return self._shares(value, replicates[None], np.array([self._count(masks[name])]))[0]
        low, high = percentile(replicates[None], self.confidence)
        return float(low[0]), float(high[0])

    def of_recall(self) -> list[Bounds]:
        """Return the interval of each class's recall; NaN for a class without rows."""
        if self.drawn is None:
            return []
        sizes = self._sizes(self.tested.gold, self.tested.classes)
        return self._shares(self.measured.recall[:, 0], self.drawn.recall, sizes)

    def of_groups(self) -> list[Bounds]:
        """Return the interval of each group's recall."""
        if self.drawn is None:
            return [(NAN, NAN)] * self.tested.groups
        sizes = self._sizes(self.tested.group, self.tested.groups)
        return self._shares(self.measured.group_recall[:, 0], self.drawn.group_recall, sizes)

    def _shares(self, values: FloatArray, replicates: FloatArray, sizes: IntArray) -> list[Bounds]:
        """Return the intervals of shares [K] from replicates [K, R]; `sizes` [K] count independent trials.

        A share of 0 or 1 has identical resamples: Wilson's interval replaces the bootstrap.
        """
        low, high = percentile(replicates, self.confidence)
        result = list(zip(low.tolist(), high.tolist(), strict=True))
        for i in np.flatnonzero((values == 0) | (values == 1)):
            result[i] = wilson(float(values[i]), int(sizes[i]), self.confidence)
        return result

    def _sizes(self, codes: IntArray, size: int) -> IntArray:
        """Return the number of rows, or of clusters with a row, in each class or group, [size]."""
        if self.units is not None:
            codes = np.unique(np.stack([codes, self.units]), axis=1)[0]
        return np.bincount(codes[codes >= 0], minlength=size)

    def _count(self, mask: Mask) -> int:
        """Return the number of rows, or of clusters with a row, in a mask."""
        return int(mask.sum()) if self.units is None else len(np.unique(self.units[mask]))
