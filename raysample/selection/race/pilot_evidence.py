"""What a pilot shows: fine-tuned candidates against fine-tuned stratified random sampling, round by round.

A round draws a part of the rows, trains every arm on its selection of this part, and judges all of them on the same
other rows. The difference of a candidate to stratified random sampling in round r is d_r; rounds have rows, draws and
orders of their own, so the d_r of n rounds give an interval by Student's t. The pilot may end at each of K looks, and m
candidates take part: each bound has the error probability α / (K m), so that all bounds of all looks hold together with
probability 1 − α (Bonferroni), whenever the pilot ends. The variance of d_r is at least that of the judged rows alone:
a few rounds that happen to agree prove less than they seem to.

A candidate is confirmed when its bound shows that it is not worse than stratified random sampling by more than the
tolerance, and its mean is above 0. It is refuted when its upper bound is below 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import special

from raysample.core.config import ArmConfig
from raysample.selection.race.candidates import INCUMBENT
from raysample.selection.race.evidence import RacedRows, RaceRun, contributions
from raysample.selection.race.pilot_plan import LOOKS

CONFIRMED, REFUTED, NOT_CONFIRMED = "confirmed", "refuted", "not confirmed"


@dataclass(frozen=True)
class RoundDifference:
    """Difference of a candidate to stratified random sampling in one round, and its variance over the judged rows."""

    mean: float
    of_rows: float


@dataclass(frozen=True)
class PilotEntry:
    """A candidate of a pilot.

    Attributes:
        name, arm: the candidate.
        status: `confirmed`, `refuted` or `not confirmed`.
        mean: mean difference to stratified random sampling over its rounds.
        low, high: bounds that hold for all candidates and looks together, each one-sided.
        rounds: its differences, round by round.
    """

    name: str
    arm: dict[str, Any]
    status: str
    mean: float
    low: float
    high: float
    rounds: tuple[float, ...]


@dataclass(frozen=True)
class PilotResult:
    """The outcome of a pilot.

    Attributes:
        entries: the candidates.
        reason: why there was no pilot; empty if there was one.
        objective, tolerance, confidence: what was asked for.
        rounds: rounds that were run. part, judged: rows of a round.
        planned: cost of all rounds that the budget pays for, as a share of one training on all rows.
        spent: cost of the rounds that were run, in the same unit.
        seconds_per_row: seconds of training on one row, the median over the trainings; 0 without a pilot.
        seconds: seconds of the whole pilot.
    """

    entries: tuple[PilotEntry, ...]
    reason: str
    objective: str
    tolerance: float
    confidence: float
    rounds: int = 0
    part: int = 0
    judged: int = 0
    planned: float = 0.0
    spent: float = 0.0
    seconds_per_row: float = 0.0
    seconds: float = 0.0

    @property
    def winner(self) -> PilotEntry | None:
        """The confirmed candidate with the largest mean; None if none is confirmed."""
        confirmed = [entry for entry in self.entries if entry.status == CONFIRMED]
        return max(confirmed, key=lambda entry: entry.mean, default=None)

    @property
    def chosen_arm(self) -> ArmConfig:
        """The arm to take."""
        return INCUMBENT if self.winner is None else ArmConfig(**self.winner.arm)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> PilotResult:
        """Return a result from the data of `to_dict`."""
        entries = tuple(PilotEntry(**{**each, "rounds": tuple(each["rounds"])}) for each in data["entries"])
        return PilotResult(**{**data, "entries": entries})


def round_difference(objective: str, ours: RaceRun, theirs: RaceRun, rows: RacedRows) -> RoundDifference:
    """Return the difference of a candidate (`ours`) to the incumbent in one round, higher is better for it.

    Each run has one draw, [1, J]; rows without clusters count as independent.
    """
    (mine, floor), (base, other) = (contributions(objective, run, rows) for run in (ours, theirs))
    apart = mine[0] - base[0]
    mean = float(apart.mean())
    return RoundDifference(mean, float(((apart - mean) ** 2).sum()) / len(apart) ** 2 + max(floor, other))


def pilot_entry(
    arm: ArmConfig, found: Sequence[RoundDifference], tolerance: float, confidence: float, candidates: int
) -> PilotEntry:
    """Judge a candidate by its rounds so far, two at least.

    Args:
        arm: the candidate. found: its differences.
        tolerance: loss that counts as none, in the objective's unit.
        confidence: of all bounds of all looks and candidates together.
        candidates: number of candidates in the pilot.

    >>> rounds = [RoundDifference(0.02 + 0.001 * i, 1e-6) for i in range(4)]
    >>> entry = pilot_entry(ArmConfig(policy="random"), rounds, 0.005, 0.95, 1)
    >>> entry.status, round(entry.low, 4)
    ('confirmed', 0.0191)
    """
    values = np.array([each.mean for each in found])
    count, mean = len(values), float(values.mean())
    variance = max(float(values.var(ddof=1)), float(np.mean([each.of_rows for each in found])))
    level = 1 - (1 - confidence) / (len(LOOKS) * candidates)
    reach = float(special.stdtrit(count - 1, level)) * float(np.sqrt(variance / count))
    low, high = mean - reach, mean + reach
    status = CONFIRMED if mean > 0 and low >= -tolerance else REFUTED if high < 0 else NOT_CONFIRMED
    return PilotEntry(arm.name, arm.to_dict(), status, mean, low, high, tuple(values.tolist()))


def without_pilot(reason: str, objective: str, tolerance: float, confidence: float) -> PilotResult:
    """Return the result of a pilot that could not be run: no candidate is confirmed."""
    return PilotResult((), reason, objective, tolerance, confidence)
