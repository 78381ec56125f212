"""The bounds of a pilot hold at every look, and a candidate is confirmed only by them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from raysample.core.config import ArmConfig
from raysample.selection.race.candidates import INCUMBENT
from raysample.selection.race.evidence import RacedRows, RaceRun
from raysample.selection.race.pilot_evidence import (
    CONFIRMED,
    NOT_CONFIRMED,
    REFUTED,
    PilotEntry,
    PilotResult,
    RoundDifference,
    pilot_entry,
    round_difference,
    without_pilot,
)
from raysample.selection.race.pilot_plan import LOOKS

ARM = ArmConfig(policy="class_power", options={"power": 0.5})


def rounds_of(values: list[float] | np.ndarray, of_rows: float = 0.0) -> list[RoundDifference]:
    return [RoundDifference(float(value), of_rows) for value in values]


def judged(values: list[float] | np.ndarray, of_rows: float = 0.0, candidates: int = 1) -> PilotEntry:
    return pilot_entry(ARM, rounds_of(values, of_rows), 0.005, 0.95, candidates)


@pytest.mark.parametrize("candidates", [1, 2])
def test_bounds_are_those_of_student_shared_between_looks_and_candidates(candidates: int) -> None:
    values = np.array([0.01, 0.03, -0.01, 0.02, 0.015])
    found = judged(values, candidates=candidates)
    level = 1 - 0.05 / (len(LOOKS) * candidates)
    expected = stats.t(4, loc=values.mean(), scale=stats.sem(values)).ppf([1 - level, level])
    np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ([0.02, 0.021, 0.02, 0.019], CONFIRMED),
        ([0.001, 0.0, 0.001, 0.0], CONFIRMED),  # not shown to be better, and shown not to be worse by the tolerance
        ([-0.0005, -0.0006, -0.0004, 0.0004], NOT_CONFIRMED),  # within the tolerance, and no gain
        ([0.05, -0.03, 0.02, 0.01], NOT_CONFIRMED),
        ([-0.02, -0.021, -0.02, -0.019], REFUTED),
    ],
)
def test_a_candidate_is_confirmed_by_its_bound_and_a_gain(values: list[float], status: str) -> None:
    assert judged(values).status == status


def test_rounds_that_agree_by_chance_prove_no_more_than_their_rows() -> None:
    sure, unsure = judged([0.01] * 4, 1e-8), judged([0.01] * 4, 1e-3)
    assert (sure.status, unsure.status) == (CONFIRMED, NOT_CONFIRMED)
    reach = stats.t.ppf(1 - 0.05 / 3, 3) * np.sqrt(1e-3 / 4)
    assert unsure.low == pytest.approx(0.01 - reach)


def test_candidates_worse_than_the_tolerance_are_rarely_confirmed() -> None:
    """Whenever the pilot ends: at each look of 2,000 pilots of a candidate that loses just the tolerance."""
    draws, wrong = np.random.default_rng(0).normal(-0.005, 0.01, (2_000, LOOKS[-1])), 0
    for values in draws:
        wrong += any(judged(values[:look]).status == CONFIRMED for look in LOOKS)
    # 5 % are allowed; 1.5 points are three standard errors of 2,000.
    assert wrong / 2_000 <= 0.05 + 0.015


def test_a_true_gain_is_confirmed() -> None:
    draws = np.random.default_rng(1).normal(0.02, 0.01, (200, LOOKS[-1]))
    assert np.mean([judged(values).status == CONFIRMED for values in draws]) > 0.9


def test_a_difference_is_that_of_the_same_rows() -> None:
    gold = np.array([0, 0, 1, 1, 1])
    rows = RacedRows(gold, np.zeros(5, np.int64))
    right, wrong = np.array([[0, 0, 1, 1, 1]]), np.array([[0, 1, 1, 0, 1]])
    ours, theirs = (RaceRun(np.zeros((1, 5), np.float32), each, 1.0) for each in (right, wrong))
    found = round_difference("accuracy", ours, theirs, rows)
    assert found.mean == pytest.approx(0.4)
    # McNemar: (b + c − (b − c)² / N) / N², and the correction of Agresti and Min beside it.
    assert found.of_rows >= (2 - 4 / 5) / 25
    assert round_difference("accuracy", theirs, ours, rows).mean == pytest.approx(-0.4)


def test_of_several_confirmed_candidates_the_best_is_taken_and_without_one_the_incumbent() -> None:
    small, large = judged([0.01] * 4), judged([0.02] * 4)
    found = PilotResult((small, large), "", "accuracy", 0.005, 0.95, 4)
    assert found.winner == large
    assert found.chosen_arm == ARM
    none = PilotResult((judged([-0.02] * 4),), "", "accuracy", 0.005, 0.95, 4)
    assert none.winner is None
    assert none.chosen_arm == INCUMBENT
    for each in (found, none, without_pilot("too small", "accuracy", 0.005, 0.95)):
        assert PilotResult.from_dict(json.loads(json.dumps(each.to_dict()))) == each
