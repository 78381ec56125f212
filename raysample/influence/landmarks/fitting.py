"""Learn scores from landmarks: leave-one-out chooses the regression, held-out landmarks measure it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import FloatArray
from raysample.core.config import LandmarksConfig
from raysample.core.errors import ScoreError
from raysample.core.numerics.regression import (
    DELTA,
    kernel_left_out,
    kernel_ridge,
    median_distance,
    ridge,
    ridge_left_out,
)
from raysample.core.statistics.rank_correlation import spearman_pair
from raysample.data.row_sampling import generator
from raysample.influence.landmarks.descriptors import Descriptors
from raysample.influence.landmarks.draw import draw_landmarks
from raysample.influence.landmarks.fitted import Design, Fitted, FittedColumn, TargetScale

HELD_OUT = 0.2
MIN_LANDMARKS = 50
RIDGE_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
KERNEL_STRENGTHS = (1e-4, 1e-3, DELTA, 0.1, 1.0)
WIDTHS = (1.0, 2.0)
"""Candidate bandwidths, in median distances."""
MOST_CHOOSING = 1_000
"""Landmarks that the choice uses at most: its cost grows with the cube of their number."""
MOST_ANCHORS = 5_000
"""With more landmarks only ridge regression is tried: a kernel needs quadratic memory and cubic time."""


@dataclass(frozen=True)
class Choice:
    """A regression for a score, and the rank correlation of its leave-one-out predictions with the exact values."""

    model: Literal["ridge", "kernel"]
    strength: float
    width: float
    log: bool
    spearman: float


def fit_landmarks(
    descriptors: Descriptors,
    exact: Mapping[str, npt.NDArray[Any]],
    config: LandmarksConfig,
    row_ids: Sequence[str] | None = None,
) -> Fitted:
    """Learn scores from the rows where they are known exactly.

    A fifth of the landmarks is held out. On the others, leave-one-out rank correlation chooses for each score between
    ridge and kernel ridge regression, the strength, the bandwidth, and whether its logarithm is predicted (only for
    scores that are never negative). The choice is measured on the held-out fifth, then fitted again on all landmarks.

    Args:
        descriptors: of the n landmarks.
        exact: score column -> exact values [n].
        config: `min_correlation` is the smallest rank correlation on the held-out fifth that is accepted.
        row_ids: [n] ids of the landmarks. With ids the result does not depend on the row order; without ids, pass the
            landmarks in a fixed order, such as that of `draw_landmarks`.

    Raises:
        ScoreError: the rank correlation of a score is below `config.min_correlation`, there are too few landmarks, or a
            score is constant on them.
    """
    order = _order(len(descriptors), config.seed, row_ids)
    rows = descriptors.take(order)
    values = {name: np.asarray(column, np.float64)[order] for name, column in exact.items()}
    good = np.isfinite(np.hstack(rows.blocks())).all(1) & np.all([np.isfinite(v) for v in values.values()], axis=0)
    rows, values = rows.take(np.flatnonzero(good)), {name: column[good] for name, column in values.items()}
    _check(values, len(rows))
    first = len(rows) - round(HELD_OUT * len(rows))
    train, test = np.arange(first), np.arange(first, len(rows))
    choices = _choose(
        rows.take(train[:MOST_CHOOSING]), {n: v[:first][:MOST_CHOOSING] for n, v in values.items()}, first
    )
    tried = _fitted(rows.take(train), {name: column[:first] for name, column in values.items()}, choices, {})
    found = tried.predict(rows.take(test))
    quality = {name: _quality(choices[name], values[name][first:], found[name]) for name in values}
    for name, result in quality.items():
        _refuse(name, result, config)
    return _fitted(rows, values, choices, quality)


def _order(count: int, seed: int, row_ids: Sequence[str] | None) -> npt.NDArray[np.intp]:
    """Return the order in which landmarks are split: by id hash, or a seeded permutation."""
    if row_ids is not None:
        return draw_landmarks(row_ids, len(row_ids), seed)
    return generator(seed).permutation(count)


def _check(values: Mapping[str, FloatArray], rows: int) -> None:
    """Raise ScoreError for too few landmarks or a constant score."""
    if rows < MIN_LANDMARKS:
        raise ScoreError(
            f"{rows} landmarks have finite scores, and {MIN_LANDMARKS} or more are needed",
            "raise score.landmarks.count, or compute the scores exactly (leave score.landmarks out)",
        )
    for name, column in values.items():
        if np.ptp(column) == 0:
            raise ScoreError(
                f"score {name!r} is {column[0]:g} for all {rows} landmarks, so there is no ranking to learn",
                f"take {name!r} out of score.landmarks.scores, or raise score.landmarks.count",
            )


def _choose(rows: Descriptors, values: Mapping[str, FloatArray], landmarks: int) -> dict[str, Choice]:
    """Return the best regression for each score by leave-one-out; the first of equals, so ridge before kernel."""
    targets = [
        (name, TargetScale.from_values(column, log)) for name, column in values.items() for log in _scales(column)
    ]
    Y = np.stack([scale.forward(values[name]) for name, scale in targets], 1)
    best: dict[str, Choice] = {}
    X = Design.from_descriptors(rows).matrix(rows)
    for model, strength, width, found in _left_out(X, Y, landmarks <= MOST_ANCHORS):
        for place, (name, scale) in enumerate(targets):
            rho = spearman_pair(found[:, place], values[name])
            if name not in best or rho > best[name].spearman:
                best[name] = Choice(model, strength, width, scale.log, rho)
    return best


def _scales(column: FloatArray) -> tuple[bool, ...]:
    """Return the values of `log` to try: the logarithm only for scores that are never negative."""
    return (False, True) if column.min() >= 0 else (False,)


def _left_out(
    X: FloatArray, Y: FloatArray, kernels: bool
) -> Iterator[tuple[Literal["ridge", "kernel"], float, float, FloatArray]]:
    """Yield (model, strength, bandwidth in medians, leave-one-out predictions [n, K]) of every candidate."""
    for strength, found in zip(RIDGE_STRENGTHS, ridge_left_out(X, Y, RIDGE_STRENGTHS), strict=True):
        yield "ridge", strength, 1.0, found
    median = median_distance(X)
    for width in WIDTHS if kernels else ():
        predictions = kernel_left_out(X, Y, KERNEL_STRENGTHS, width * median)
        for strength, found in zip(KERNEL_STRENGTHS, predictions, strict=True):
            yield "kernel", strength, width, found


def _fitted(
    rows: Descriptors,
    values: Mapping[str, FloatArray],
    choices: Mapping[str, Choice],
    quality: Mapping[str, Mapping[str, Any]],
) -> Fitted:
    """Fit the chosen regressions to rows and their exact values."""
    design = Design.from_descriptors(rows)
    X = design.matrix(rows)
    columns = {name: _column(X, values[name], choice) for name, choice in choices.items()}
    kernels = any(column.model == "kernel" for column in columns.values())
    return Fitted(design, X if kernels else X[:0], columns, quality)


def _column(X: FloatArray, exact: FloatArray, choice: Choice) -> FittedColumn:
    """Fit the chosen regression of one score to columns X [n, D]."""
    scale = TargetScale.from_values(exact, choice.log)
    Y = scale.forward(exact)[:, None]
    if choice.model == "ridge":
        linear = ridge(X, Y, choice.strength)
        return FittedColumn("ridge", scale, linear.weights[:, 0], offset=float(linear.offset[0]))
    kernel = kernel_ridge(X, Y, choice.strength, choice.width * median_distance(X))
    return FittedColumn("kernel", scale, kernel.weights[:, 0], bandwidth=kernel.bandwidth)


def _quality(choice: Choice, exact: FloatArray, found: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return the quality of predictions on held-out landmarks."""
    around = ((exact - exact.mean()) ** 2).sum()
    return {
        "r2": float(1 - ((exact - found) ** 2).sum() / around) if around > 0 else 0.0,
        "spearman": spearman_pair(found, exact),
        "held_out": len(exact),
        "model": choice.model,
        "log": choice.log,
        "strength": choice.strength,
    }


def _refuse(name: str, result: Mapping[str, Any], config: LandmarksConfig) -> None:
    """Raise ScoreError if the rank correlation on held-out landmarks is below the minimum."""
    if result["spearman"] < config.min_correlation:
        raise ScoreError(
            f"landmarks predict score {name!r} with a rank correlation of {result['spearman']:.3f} on "
            f"{result['held_out']} held-out landmarks (R² {result['r2']:.3f}); "
            f"score.landmarks.min_correlation is {config.min_correlation}",
            f"compute {name!r} exactly (take it out of score.landmarks.scores), raise score.landmarks.count "
            f"(now {config.count:,}), or accept less with score.landmarks.min_correlation",
        )
