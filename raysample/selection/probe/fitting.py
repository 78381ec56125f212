"""The probe: logistic regression on frozen features, fitted on many selections, its penalty chosen on held-out rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from raysample.core.errors import SelectionError
from raysample.core.numerics.logistic_regression import LogisticFit, fit_selections, principal_axes

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Inverse penalties C to choose from: λ = 1 / (C · rows), for features of length 1."""
STRENGTH_PART = 5
"""One of so many rows is held out to choose the strength."""
LEAST_PROBABILITY = 1e-6
"""Probabilities below are counted as this one: a class without kept rows has no likelihood that means anything."""
_BLOCK = 8_192
_FINAL = 2e-4
"""Tolerance of the gradient."""


@dataclass(frozen=True, eq=False)
class ProbeRows:
    """Rows as the probe sees them, made by `probe_rows`.

    Attributes:
        features: [N, D] float32 on principal axes, centred. labels: [N] int64. classes: C.
        mean, axes: the shift [D] and the rotation [D, D] that made the features.
    """

    features: Tensor
    labels: Tensor
    classes: int
    mean: Tensor
    axes: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: npt.NDArray[np.int64]) -> ProbeRows:
        """Return some rows."""
        place = torch.from_numpy(rows).to(self.labels.device)
        return replace(self, features=self.features[place], labels=self.labels[place])

    def placed(self, features: npt.NDArray[np.floating]) -> Tensor:
        """Return other rows' features [N, D] on the same axes."""
        return _placed(features, self.mean, self.axes)


@dataclass(frozen=True, eq=False)
class Judged:
    """Predictions of P probes on N rows: log-loss in nats [P, N], at most −ln 1e-6, and predicted class [P, N]."""

    loss: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.int64]


def probe_rows(
    features: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], classes: int, device: str = "cpu"
) -> ProbeRows:
    """Return features [N, D] and labels [N] ready for probes: finite, on the principal axes of all rows.

    The rotation uses no labels and changes no prediction (`principal_axes`).

    Raises:
        SelectionError: features that are not finite, or that do not fit the labels.
    """
    if features.ndim != 2 or len(features) != len(labels):
        raise SelectionError(
            f"expected a row of features for each of {len(labels):,} labels, got {features.shape}",
            "compute the features of the same rows",
        )
    check_features(features)
    mean, axes = principal_axes(torch.from_numpy(np.ascontiguousarray(features)).to(device))
    placed = _placed(features, mean, axes)
    return ProbeRows(placed, torch.from_numpy(labels.astype(np.int64)).to(device), classes, mean, axes)


def check_features(features: npt.NDArray[np.floating]) -> None:
    """Raise SelectionError, naming the first row, for features that are not finite."""
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise SelectionError(
            f"the features of {int((~finite).sum()):,} of {len(features):,} rows are not finite, "
            f"the first is row {int(np.flatnonzero(~finite)[0])}",
            "leave these rows out, or use another encoder, in float32 if this one overflows in float16",
        )


def _placed(features: npt.NDArray[np.floating], mean: Tensor, axes: Tensor) -> Tensor:
    """Return (features − mean) · axes, [N, D] float32, block by block."""
    result = torch.empty(features.shape, dtype=torch.float32, device=mean.device)
    for start in range(0, len(features), _BLOCK):
        block = torch.from_numpy(np.ascontiguousarray(features[start : start + _BLOCK])).to(mean.device)
        result[start : start + _BLOCK] = (block.float() - mean) @ axes
    return result


def fit_probes(rows: ProbeRows, weights: npt.NDArray[np.floating], held: npt.NDArray[np.bool_]) -> LogisticFit:
    """Fit a probe on each of P selections, all with the strength that suits the first one.

    The first selection is fitted without the held-out rows at every strength; the one with the least mean log-loss on
    *all* held-out rows, kept and pruned ones, is taken. One strength for all, since a strength of its own for every
    selection would be noise that all draws of a candidate share.

    Every fit starts from zeros. A start at the coefficients of another selection would save evaluations, but a fit that
    ends at a tolerance remembers its start, and so the rows of the other selection.

    Args:
        rows: the N training rows.
        weights: [P, N], 0 for rows that a selection does not have.
        held: rows that are held out while the strength is chosen, [N].

    Raises:
        SelectionError: the first selection has no rows outside the held-out part.
    """
    given = torch.from_numpy(weights.astype(np.float32)).to(rows.labels.device)
    strength = _strength(rows, given[0], torch.from_numpy(held).to(rows.labels.device))
    penalties = 1 / (strength * (given > 0).sum(1))
    return fit_selections(rows.features, rows.labels, rows.classes, given, penalties[:, None], tolerance=_FINAL)


def _strength(rows: ProbeRows, weights: Tensor, held: Tensor) -> float:
    """Return the strength with the least log-loss on held-out rows, of a selection without them."""
    part = (weights * ~held)[None]
    count = int((part > 0).sum())
    if not count:
        raise SelectionError(
            "a selection has no rows but held-out ones, so no strength can be chosen", "keep more rows"
        )
    penalties = 1 / (count * torch.tensor([STRENGTHS], device=weights.device))
    fit = fit_selections(rows.features, rows.labels, rows.classes, part, penalties, tolerance=_FINAL)
    place = held.nonzero().squeeze(1)
    lost = fit.judge(rows.features[place], rows.labels[place])[0].clamp(max=-math.log(LEAST_PROBABILITY))
    return STRENGTHS[int(lost.double().mean(1).argmin())]


def judge_probes(fit: LogisticFit, rows: ProbeRows) -> Judged:
    """Return the predictions of fitted probes on rows."""
    loss, predicted = fit.judge(rows.features, rows.labels)
    return Judged(loss.clamp(max=-math.log(LEAST_PROBABILITY)).cpu().numpy(), predicted.cpu().numpy())


def strength_part(rows: int, seed: int) -> npt.NDArray[np.bool_]:
    """Return a seeded fifth of the rows as a mask [N]."""
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(rows)
    mask = np.zeros(rows, np.bool_)
    mask[order[: max(1, rows // STRENGTH_PART)]] = True
    return mask
