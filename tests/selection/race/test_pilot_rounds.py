"""The rounds of a pilot: near-equal texts are on one side, rows differ between rounds, arms keep their share."""

from __future__ import annotations

import numpy as np
import pytest

from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.selection.race.candidates import INCUMBENT
from raysample.selection.race.pilot_plan import PilotPlan
from raysample.selection.race.pilot_rounds import deal_round
from raysample.selection.race.race_rows import RaceRows

PLAN = PilotPlan(1, 120, 100, 0.3)
TILTED = ArmConfig(policy="tilted", score="probe_el2n", options={"strength": 1})


@pytest.fixture(scope="module")
def rows() -> RaceRows:
    """Return 300 rows of three classes, in clusters of up to four."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, 300)
    vectors = np.eye(8)[labels] + 0.3 * draw.normal(size=(300, 8))
    cluster = draw.integers(0, 120, 300)
    return RaceRows([f"r{i}" for i in range(300)], vectors.astype(np.float32), labels, 3, cluster=cluster).ordered(0)


@pytest.mark.parametrize("number", range(4))
def test_no_cluster_is_on_both_sides(rows: RaceRows, number: int) -> None:
    found = deal_round(rows, PLAN, (INCUMBENT, TILTED), 0.5, 0, number, sampled=False)
    assert rows.cluster is not None
    assert not set(rows.cluster[found.part]) & set(rows.cluster[found.judged])
    assert len(found.part) == 120
    assert 90 <= len(found.judged) <= 100  # a cluster that the border would cut is left out
    assert not found.refused
    for name in (INCUMBENT.name, TILTED.name):
        assert (found.weights_of(name) > 0).sum() == 60


@pytest.mark.parametrize("sampled", [False, True])
def test_a_round_is_the_same_again_and_rounds_differ(rows: RaceRows, sampled: bool) -> None:
    one, again, other = (deal_round(rows, PLAN, (INCUMBENT, TILTED), 0.5, 0, n, sampled) for n in (0, 0, 1))
    assert np.array_equal(one.part, again.part)
    assert np.array_equal(one.weights_of(TILTED.name), again.weights_of(TILTED.name))
    assert not np.array_equal(one.part, other.part)


def test_an_arm_that_cannot_be_followed_says_why(rows: RaceRows) -> None:
    wide = ArmConfig(policy="stratified_random", min_per_class=40)
    found = deal_round(rows, PLAN, (INCUMBENT, wide), 0.1, 0, 0, sampled=False)
    assert set(found.refused) == {wide.name}
    with pytest.raises(SelectionError, match="is not possible on a part of the rows"):
        found.weights_of(wide.name)
