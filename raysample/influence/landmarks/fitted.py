"""What was learnt from the landmarks: predicts the scores of other rows, is saved as safetensors and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import fsspec
import numpy as np
import safetensors.numpy

from raysample.core import manifests, storage
from raysample.core.errors import ScoreError
from raysample.core.numerics.regression import CHUNK, KernelRidge, Matrix, Ridge
from raysample.influence.landmarks.descriptors import Descriptors, Floats

MANIFEST = "landmarks.json"
TENSORS = "landmarks.safetensors"


@dataclass(frozen=True, eq=False)
class Design:
    """How blocks of descriptors become the columns of a regression: (value − centre) · factor, [D] each.

    Each extra column x is there as such and as sign(x) ln(1 + |x| / unit), with a unit [E] of a thousandth of its
    median size: scores are often heavy-tailed.
    """

    centre: Matrix
    factor: Matrix
    unit: Matrix

    @staticmethod
    def from_descriptors(rows: Descriptors) -> Design:
        """Learn it from rows: every block but the class is standardised, and divided by √(its width).

        So the blocks weigh the same in a distance, however many columns they have; a constant column weighs nothing.
        The class keeps its ones and zeros, or a rare class would be farther from all else than anything.
        """
        middle = np.median(np.abs(rows.blocks()[3]), axis=0)
        unit = 1e-3 * np.where(middle > 0, middle, 1.0)
        *values, codes = _widened(rows, unit)
        block = np.hstack(values)
        spread = block.std(0)
        width = np.concatenate([np.full(part.shape[1], part.shape[1]) for part in values])
        useful = spread > 1e-9 * np.maximum(np.abs(block).max(0), 1e-30)
        factor = np.divide(1 / np.sqrt(width), spread, out=np.zeros_like(spread), where=useful)
        more = codes.shape[1]
        return Design(np.concatenate([block.mean(0), np.zeros(more)]), np.concatenate([factor, np.ones(more)]), unit)

    def matrix(self, rows: Descriptors) -> Matrix:
        """Return the columns of some rows, [n, D]; raises ScoreError where they were described otherwise."""
        found = np.hstack(_widened(rows, self.unit)) if len(rows.extra) == len(self.unit) else np.empty((0, 0))
        if found.shape[1] != len(self.centre):
            widths = sum(block.shape[1] for block in rows.blocks())
            raise ScoreError(
                f"the rows have {widths} descriptors, the landmarks had {len(self.centre) - len(self.unit)}",
                "describe landmarks and other rows with the same checkpoint and the same extra columns",
            )
        return (found - self.centre) * self.factor


def _widened(rows: Descriptors, unit: Matrix) -> tuple[Matrix, ...]:
    *values, extra, codes = rows.blocks()
    return (*values, np.hstack([extra, np.sign(extra) * np.log1p(np.abs(extra) / unit)]), codes)


@dataclass(frozen=True)
class TargetScale:
    """What a regression sees of a score: (t(y) − mean) / deviation with t(y) = y, or ln(y + shift) where `log`.

    `low` and `high` are the smallest and largest exact value; predictions stay between them, so in the score's range.
    """

    log: bool
    mean: float
    deviation: float
    shift: float
    low: float
    high: float

    @staticmethod
    def from_values(exact: Matrix, log: bool) -> TargetScale:
        """Learn it from exact values [n]; the shift is a thousandth of the median of the positive ones."""
        positive = exact[exact > 0]
        shift = 1e-3 * (float(np.median(positive)) if len(positive) else 1.0) if log else 0.0
        seen = np.log(exact + shift) if log else exact
        deviation = float(seen.std())
        return TargetScale(log, float(seen.mean()), deviation or 1.0, shift, float(exact.min()), float(exact.max()))

    def forward(self, exact: Matrix) -> Matrix:
        """Return what the regression sees of exact values."""
        found: Matrix = (self._seen(exact) - self.mean) / self.deviation
        return found

    def backward(self, seen: Matrix) -> Matrix:
        """Return the score for what the regression predicts."""
        low, high = self._seen(np.array([self.low, self.high]))
        found = np.clip(seen * self.deviation + self.mean, low, high)
        return np.clip(np.exp(found) - self.shift if self.log else found, self.low, self.high)

    def _seen(self, exact: Matrix) -> Matrix:
        found: Matrix = np.log(exact + self.shift) if self.log else exact
        return found


@dataclass(frozen=True, eq=False)
class FittedColumn:
    """One score: how it is scaled, and the regression: weights [D] and an offset, or weights [l] of the anchors."""

    model: Literal["ridge", "kernel"]
    scale: TargetScale
    weights: Matrix
    offset: float = 0.0
    bandwidth: float = 1.0

    def predict(self, X: Matrix, anchors: Matrix) -> Matrix:
        """Return the score of rows X [n, D], [n]; NaN where a descriptor is not finite."""
        known = np.isfinite(X).all(1)
        weights = self.weights[:, None]
        if self.model == "ridge":
            seen = Ridge(weights, np.array([self.offset])).predict(X[known])
        else:
            seen = KernelRidge(anchors, weights, self.bandwidth).predict(X[known])
        found = np.full(len(X), np.nan)
        found[known] = self.scale.backward(seen[:, 0])
        return found


@dataclass(frozen=True, eq=False)
class Fitted:
    """The scores that landmarks predict.

    Attributes:
        design: how rows become columns of a regression.
        anchors: [l, D] the landmarks' columns where a score is predicted by kernel regression, else [0, D].
        columns: score column -> its regression.
        quality: score column -> how it fared on landmarks that neither chose nor fitted it: `r2` (in the score's own
            units), `spearman`, `held_out` (their number), and what was chosen: `model` (ridge or kernel), `log`,
            `strength`.
    """

    design: Design
    anchors: Matrix
    columns: Mapping[str, FittedColumn]
    quality: Mapping[str, Mapping[str, Any]]

    def predict(self, descriptors: Descriptors) -> dict[str, Floats]:
        """Return every score of some rows, float32 [n] each; NaN for a row whose descriptors are not finite.

        A row's prediction does not depend on the other rows beyond rounding.
        """
        found = {name: np.empty(len(descriptors), np.float32) for name in self.columns}
        for start in range(0, len(descriptors), CHUNK):
            rows = np.arange(start, min(start + CHUNK, len(descriptors)))
            X = self.design.matrix(descriptors.take(rows))
            for name, column in self.columns.items():
                found[name][rows] = column.predict(X, self.anchors)
        return found

    def save(self, uri: str) -> Fitted:
        """Write the regressions into folder `uri`, the manifest last."""
        design = {"centre": self.design.centre, "factor": self.design.factor, "unit": self.design.unit}
        tensors = {**design, "anchors": self.anchors}
        tensors |= {f"weights.{i}": column.weights for i, column in enumerate(self.columns.values())}
        data = safetensors.numpy.save({name: np.ascontiguousarray(values) for name, values in tensors.items()})
        storage.write_file(storage.join(uri, TENSORS), lambda stream: _write(stream, data))
        columns = {
            name: {"model": c.model, "scale": asdict(c.scale), "offset": c.offset, "bandwidth": c.bandwidth}
            for name, c in self.columns.items()
        }
        quality = {name: dict(told) for name, told in self.quality.items()}
        storage.write_json(storage.join(uri, MANIFEST), {"columns": columns, "quality": quality})
        return self

    @staticmethod
    def load(uri: str) -> Fitted:
        """Read what `save` wrote; raises StorageError where it is missing."""
        place = storage.join(uri, MANIFEST)
        told = manifests.mapping(place, "columns", "quality")
        with manifests.damaged(place):
            return Fitted._of(uri, told)

    @staticmethod
    def _of(uri: str, told: dict[str, Any]) -> Fitted:
        with fsspec.open(storage.join(uri, TENSORS), "rb") as stream:
            tensors = safetensors.numpy.load(stream.read())
        columns = {
            name: FittedColumn(weights=tensors[f"weights.{i}"], **{**column, "scale": TargetScale(**column["scale"])})
            for i, (name, column) in enumerate(told["columns"].items())
        }
        design = Design(tensors["centre"], tensors["factor"], tensors["unit"])
        return Fitted(design, tensors["anchors"], columns, told["quality"])


def _write(stream: Any, data: bytes) -> None:
    stream.write(data)
