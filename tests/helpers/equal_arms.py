"""Simulated comparisons of equal arms: every row has a difficulty, every training a skill that differs by seed.

A row is predicted right if skill and chance exceed its difficulty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raysample.evaluation import ArmCell, Estimates, Predictions, difference, holm

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]
LEVEL, CLASSES = 0.05, 6
MARGIN = 0.17
"""Of skill: some two points of accuracy."""


def hits(draw: np.random.Generator, ease: Floats, seeds: int, spread: float, margin: float = 0.0) -> Bools:
    """Return which rows an arm's trainings predict right, [comparisons, seeds, rows]."""
    skill = draw.normal(margin, spread, (len(ease), seeds, 1)).astype(np.float32)
    chance = draw.standard_normal((len(ease), seeds, ease.shape[-1]), dtype=np.float32)
    return np.asarray(ease + skill + chance > 0)


def estimated(right: Bools) -> Estimates:
    """Return the accuracies of many comparisons at once; `estimates` does it for one."""
    values = right.mean(axis=-1)
    return Estimates(values, right - values[..., None], 1 / (right.shape[-1] + 2) ** 2)


@dataclass(frozen=True)
class EqualArms:
    """Comparisons of two arms with two baselines, [comparisons] each.

    Attributes:
        false: whether one or more of the equal arms is called better than a baseline, corrected by Holm.
        low, high: bounds of the 95 % interval of one difference, whose true value is 0.
        seen: whether an arm that is two points better is found better than random, alone.
    """

    false: Bools
    low: Floats
    high: Floats
    seen: Bools

    @property
    def missed(self) -> Bools:
        """Whether the interval leaves out 0."""
        return np.asarray((self.low > 0) | (self.high < 0))


def compare_equal_arms(draw: np.random.Generator, comparisons: int, seeds: int, rows: int, spread: float) -> EqualArms:
    """Simulate comparisons of two arms with random and stratified random, all four equal; and of a better one."""
    ease = draw.normal(1.6, 1.2, (comparisons, 1, rows)).astype(np.float32)
    random, stratified, *ours = (estimated(hits(draw, ease, seeds, spread)) for _ in range(4))
    found = [difference(one, baseline) for one in ours for baseline in (random, stratified)]
    above = np.stack([each.mean > 0 for each in found], axis=-1)
    p = holm(np.stack([each.two_sided() for each in found], axis=-1))
    better = difference(estimated(hits(draw, ease, seeds, spread, MARGIN)), random)
    return EqualArms(
        ((p < LEVEL) & above).any(axis=-1),
        *found[0].bounds(1 - LEVEL),
        (better.two_sided() < LEVEL) & (better.mean > 0),
    )


def predictions_of_equal_arms(
    draw: np.random.Generator, seeds: int, rows: int, spread: float
) -> dict[ArmCell, Predictions]:
    """Simulate the predictions of one comparison of four equal arms; class sizes fall as 1/rank."""
    shares = 1 / np.arange(1, CLASSES + 1)
    gold = draw.choice(CLASSES, rows, p=shares / shares.sum())
    ease = draw.normal(1.6, 1.2, (1, 1, rows)).astype(np.float32)
    cells: dict[ArmCell, Predictions] = {}
    for arm in ("random", "stratified_random", "one", "other"):
        for seed, right in enumerate(hits(draw, ease, seeds, spread)[0]):
            wrong = (gold + draw.integers(1, CLASSES, rows)) % CLASSES
            cells[arm, 0.5, seed] = Predictions(gold, np.where(right, gold, wrong))
    return cells
