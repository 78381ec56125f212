"""The fitted landmark regressions: they predict the scores of other rows; saved as safetensors and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import fsspec
import numpy as np
import safetensors.numpy

from raysample.core import manifests, storage
from raysample.core.arrays import Float32Array, FloatArray
from raysample.core.errors import ScoreError
from raysample.core.numerics.regression import KERNEL_CHUNK_ROWS, KernelRidge, Ridge
from raysample.influence.landmarks.descriptors import Descriptors

LANDMARKS_MANIFEST = "landmarks.json"
LANDMARKS_TENSORS = "landmarks.safetensors"


@dataclass(frozen=True, eq=False)
class Design:
    """The map from descriptor blocks to regression columns: (value − centre) · factor, [D] each.

    Each extra column x appears as x and as sign(x) ln(1 + |x| / unit), with unit [E] a thousandth of its median size:
    scores are often heavy-tailed.
    """

    centre: FloatArray
    factor: FloatArray
    unit: FloatArray

    @staticmethod
    def from_descriptors(rows: Descriptors) -> Design:
        """Fit the map to rows: every block but the class is standardised and divided by √(its width).

        So all blocks have the same weight in a distance, whatever their number of columns; a constant column has weight
        zero. The class stays one-hot: standardised, a rare class would be farther from everything else than any other
        difference.
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

    def matrix(self, rows: Descriptors) -> FloatArray:
        """Return the columns of some rows, [n, D]; raises ScoreError if the rows have other descriptors."""
        found = np.hstack(_widened(rows, self.unit)) if len(rows.extra) == len(self.unit) else np.empty((0, 0))
        if found.shape[1] != len(self.centre):
            widths = sum(block.shape[1] for block in rows.blocks())
            raise ScoreError(
                f"the rows have {widths} descriptors, the landmarks had {len(self.centre) - len(self.unit)}",
                "describe landmarks and other rows with the same checkpoint and the same extra columns",
            )
        return (found - self.centre) * self.factor


def _widened(rows: Descriptors, unit: FloatArray) -> tuple[FloatArray, ...]:
    """Return the blocks of rows with the logarithmic columns of `extra` added."""
    *values, extra, codes = rows.blocks()
    return (*values, np.hstack([extra, np.sign(extra) * np.log1p(np.abs(extra) / unit)]), codes)


@dataclass(frozen=True)
class TargetScale:
    """The scale on which a regression predicts a score.

    (t(y) − mean) / deviation with t(y) = y, or ln(y + shift) if `log`.

    `low` and `high` are the smallest and largest exact value; predictions are clipped to them, so to the score's range.
    """

    log: bool
    mean: float
    deviation: float
    shift: float
    low: float
    high: float

    @staticmethod
    def from_values(exact: FloatArray, log: bool) -> TargetScale:
        """Fit the scale to exact values [n]; the shift is a thousandth of the median of the positive values."""
        positive = exact[exact > 0]
        shift = 1e-3 * (float(np.median(positive)) if len(positive) else 1.0) if log else 0.0
        seen = np.log(exact + shift) if log else exact
        deviation = float(seen.std())
        return TargetScale(log, float(seen.mean()), deviation or 1.0, shift, float(exact.min()), float(exact.max()))

    def forward(self, exact: FloatArray) -> FloatArray:
        """Return exact values on the scale of the regression."""
        found: FloatArray = (self._seen(exact) - self.mean) / self.deviation
        return found

    def backward(self, seen: FloatArray) -> FloatArray:
        """Return predictions of the regression as scores."""
        low, high = self._seen(np.array([self.low, self.high]))
        found = np.clip(seen * self.deviation + self.mean, low, high)
        return np.clip(np.exp(found) - self.shift if self.log else found, self.low, self.high)

    def _seen(self, exact: FloatArray) -> FloatArray:
        """Return t(y)."""
        found: FloatArray = np.log(exact + self.shift) if self.log else exact
        return found


@dataclass(frozen=True, eq=False)
class FittedColumn:
    """One score.

    Its scale and its regression, weights [D] and an offset (ridge) or weights [l] of the anchors (kernel).
    """

    model: Literal["ridge", "kernel"]
    scale: TargetScale
    weights: FloatArray
    offset: float = 0.0
    bandwidth: float = 1.0

    def predict(self, X: FloatArray, anchors: FloatArray) -> FloatArray:
        """Return the score of rows X [n, D], [n]; NaN if a descriptor is not finite."""
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
    """The fitted regressions of all predicted scores.

    Attributes:
        design: the map from rows to regression columns.
        anchors: [l, D] the columns of the landmarks if a score uses kernel regression, else [0, D].
        columns: score column -> its regression.
        quality: score column -> its quality on held-out landmarks that neither chose nor fitted it: `r2` (in the
            score's own units), `spearman`, `held_out` (their number), and the choice: `model` (ridge or kernel), `log`,
            `strength`.
    """

    design: Design
    anchors: FloatArray
    columns: Mapping[str, FittedColumn]
    quality: Mapping[str, Mapping[str, Any]]

    def predict(self, descriptors: Descriptors) -> dict[str, Float32Array]:
        """Return every score of some rows, float32 [n] each; NaN for a row with descriptors that are not finite.

        A row's prediction does not depend on the other rows beyond rounding.
        """
        found = {name: np.empty(len(descriptors), np.float32) for name in self.columns}
        for start in range(0, len(descriptors), KERNEL_CHUNK_ROWS):
            rows = np.arange(start, min(start + KERNEL_CHUNK_ROWS, len(descriptors)))
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
        storage.write_file(storage.join(uri, LANDMARKS_TENSORS), lambda stream: _write(stream, data))
        columns = {
            name: {"model": c.model, "scale": asdict(c.scale), "offset": c.offset, "bandwidth": c.bandwidth}
            for name, c in self.columns.items()
        }
        quality = {name: dict(data) for name, data in self.quality.items()}
        storage.write_json(storage.join(uri, LANDMARKS_MANIFEST), {"columns": columns, "quality": quality})
        return self

    @staticmethod
    def load(uri: str) -> Fitted:
        """Read the result of `save`; raises StorageError if missing or damaged."""
        place = storage.join(uri, LANDMARKS_MANIFEST)
        data = manifests.mapping(place, "columns", "quality")
        with manifests.damaged(place):
            return Fitted._from_manifest(uri, data)

    @staticmethod
    def _from_manifest(uri: str, data: dict[str, Any]) -> Fitted:
        """Build the regressions from the manifest and the tensors in folder `uri`."""
        with fsspec.open(storage.join(uri, LANDMARKS_TENSORS), "rb") as stream:
            tensors = safetensors.numpy.load(stream.read())
        columns = {
            name: FittedColumn(weights=tensors[f"weights.{i}"], **{**column, "scale": TargetScale(**column["scale"])})
            for i, (name, column) in enumerate(data["columns"].items())
        }
        design = Design(tensors["centre"], tensors["factor"], tensors["unit"])
        return Fitted(design, tensors["anchors"], columns, data["quality"])


def _write(stream: Any, data: bytes) -> None:
    """Write bytes into a stream."""
    stream.write(data)
