"""Verdicts on the arms of a comparison: against random, against stratified random and against all data.

A verdict is better, worse, equivalent within a tolerance (two one-sided tests, Schuirmann 1987), or undecided. "Better
or worse" and "equivalent" are two questions about every arm at every fraction against both baselines, corrected by Holm
for the number of tests, each objective separately; "all data" is a family of its own. With two seeds a verdict is weak
evidence at most, with one seed there is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from raysample.core.arrays import FloatArray
from raysample.core.errors import ProvenanceError
from raysample.evaluation.arms import BASELINES, FULL, RANDOM, ArmCell
from raysample.evaluation.differences import Difference, difference, holm
from raysample.evaluation.objectives import OBJECTIVES, estimates
from raysample.evaluation.predictions import Predictions
from raysample.evaluation.rarity import NEW_TEXT, REPEATED_CONTENT

VerdictKind = Literal["better", "worse", "equivalent", "undecided", "none"]
TOLERANCE = 0.005
FEW_SEEDS = 2
"""Number of seeds up to which a verdict is weak evidence."""


@dataclass(frozen=True)
class Verdict:
    """The verdict of one objective on one arm at one fraction against one baseline.

    Attributes:
        objective, arm, fraction, baseline: the comparison.
        mean: mean difference, arm minus baseline.
        low, high: its interval within [−1, 1], not corrected for multiple tests; NaN for one seed.
        pairs: number of seeds that both have.
        rows: number of test rows.
        p: corrected two-sided p-value of a difference.
        p_equivalent: corrected p-value of the difference being smaller than the tolerance.
        p_not_worse: corrected p-value of the arm not lying below the baseline by more than the tolerance.
        detectable: smallest difference that could be better or worse, given the noise and the correction.
        tests: number of tests in the correction.
        kind: the verdict; `none` for one seed.
        weak: whether it rests on two seeds.
        small: whether it is better or worse, and also equivalent.
        level: significance level of the p-values.
    """

    objective: str
    arm: str
    fraction: float
    baseline: str
    mean: float
    low: float
    high: float
    pairs: int
    rows: int
    p: float
    p_equivalent: float
    p_not_worse: float
    detectable: float
    tests: int
    kind: VerdictKind
    weak: bool
    small: bool
    level: float

    @property
    def as_good(self) -> bool:
        """Whether the arm is shown not to lie below the baseline by more than the tolerance."""
        return self.kind == "better" or self.p_not_worse < self.level

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Verdict:
        """Return a verdict from JSON-able data, in which NaN is None."""
        numbers = ("low", "high", "p", "p_equivalent", "p_not_worse", "detectable")
        return Verdict(**{**data, **{name: math.nan for name in numbers if data[name] is None}})


def judge_arms(
    cells: Mapping[ArmCell, Predictions], tolerance: float = TOLERANCE, confidence: float = 0.95
) -> tuple[Verdict, ...]:
    """Judge every arm with predictions by every objective, and by the accuracy on rare rows if the test has any.

    Args:
        cells: predictions of the retrainings, all on the same test rows; an arm is judged by the seeds that both it
            and the baseline have.
        tolerance: largest difference that counts as equivalent.
        confidence: of the intervals; 1 − confidence is the probability of a false verdict per family.

    Raises:
        ProvenanceError: predictions of different test rows.
    """
    _check_rows(cells)
    arms = list(dict.fromkeys((arm, fraction) for arm, fraction, _ in cells))
    to_baselines = [
        (arm, fraction, baseline, fraction)
        for arm, fraction in arms
        for baseline in BASELINES
        if arm not in (FULL, RANDOM, baseline) and (baseline, fraction) in arms
    ]
    full = next(((arm, fraction) for arm, fraction in arms if arm == FULL), None)
    to_full = [(*each, *full) for each in arms if each[0] != FULL] if full is not None else []
    found = list[Verdict]()
    masks = sorted({name for run in cells.values() for name in run.masks} - {REPEATED_CONTENT, NEW_TEXT})
    for objective in (*OBJECTIVES, *masks):
        for family in (to_baselines, to_full):
            found += _family(objective, family, cells, tolerance, confidence)
    return tuple(found)


def _check_rows(cells: Mapping[ArmCell, Predictions]) -> None:
    """Raise ProvenanceError if predictions cover different test rows."""
    first = next(iter(cells.values()), None)
    other = next((cell for cell, run in cells.items() if first is not None and not first.same_rows(run)), None)
    if other is not None:
        raise ProvenanceError(
            f"the predictions of {other[0]} at {other[1]:.0%}, seed {other[2]}, are about other test rows than others",
            "delete the folder `arms` of this run and run the comparison again",
        )


_Pair = tuple[str, float, str, float]


def _family(
    objective: str, pairs: Sequence[_Pair], cells: Mapping[ArmCell, Predictions], tolerance: float, confidence: float
) -> Iterable[Verdict]:
    """Yield the verdicts of one objective on pairs of arms, p-values corrected for the number of pairs."""
    compared = [(pair, *_compared(objective, pair, cells)) for pair in pairs]
    compared = [each for each in compared if each[2]]  # pairs without a common seed have no difference
    if not compared:
        return
    parts = [(each.mean, each.seeds, each.degrees, each.rows) for _, each, _, _ in compared]
    estimate, level = Difference(*np.array(parts, dtype=np.float64).T), 1 - confidence
    tests = sum(count > 1 for _, _, count, _ in compared)
    p_values = _corrected(estimate, tolerance)
    (low, high), detectable = estimate.bounds(confidence), estimate.half_width(level / max(tests, 1))
    for i, (pair, _, count, rows) in enumerate(compared):
        p, equivalent, not_worse = p_values[:, i].tolist()
        kind = _kind(float(estimate.mean[i]), p, equivalent, level)
        yield Verdict(
            objective,
            *pair[:3],
            mean=float(estimate.mean[i]),
            low=float(np.maximum(low[i], -1.0)),
            high=float(np.minimum(high[i], 1.0)),
            pairs=count,
            rows=rows,
            p=p,
            p_equivalent=equivalent,
            p_not_worse=not_worse,
            detectable=float(detectable[i]),
            tests=tests,
            kind=kind,
            weak=count <= FEW_SEEDS,
            small=kind in ("better", "worse") and equivalent < level,
            level=level,
        )


def _corrected(estimate: Difference, tolerance: float) -> FloatArray:
    """Return corrected p-values [3, arms]: of a difference, of equivalence, of not being worse; corrected by kind.

    Arms with one seed are not tested, and stay NaN.
    """
    not_worse, not_better = estimate.p_value(-tolerance), 1 - estimate.p_value(tolerance)
    p_values = np.stack([estimate.two_sided(), np.maximum(not_worse, not_better), not_worse])
    # Holm's correction counts only the tests that can reject.
    tested = ~np.isnan(estimate.degrees)
    p_values[:, tested] = holm(p_values[:, tested])
    return p_values


def _kind(mean: float, p: float, equivalent: float, level: float) -> VerdictKind:
    """Return the verdict from the mean difference and the corrected p-values."""
    if math.isnan(p):
        return "none"
    if p < level:
        return "better" if mean > 0 else "worse"
    return "equivalent" if equivalent < level else "undecided"


def _compared(objective: str, pair: _Pair, cells: Mapping[ArmCell, Predictions]) -> tuple[Difference, int, int]:
    """Return the difference of an arm to its baseline over common seeds, the number of seeds, and the test rows."""
    arm, fraction, baseline, at = pair
    seeds = [seed for name, kept, seed in cells if (name, kept) == (arm, fraction) and (baseline, at, seed) in cells]
    if objective not in OBJECTIVES:
        both = ((arm, fraction), (baseline, at))
        seeds = [seed for seed in seeds if all(objective in cells[name, kept, seed].masks for name, kept in both)]
    ours, theirs = ([cells[name, kept, seed] for seed in seeds] for name, kept in ((arm, fraction), (baseline, at)))
    if not seeds:
        nothing = np.array(math.nan)
        return Difference(nothing, nothing, nothing, nothing), 0, 0
    found = difference(estimates(objective, ours), estimates(objective, theirs), ours[0].cluster)
    return found, len(seeds), len(ours[0])
