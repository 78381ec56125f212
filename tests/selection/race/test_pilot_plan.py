"""A pilot stays within its budget and its rows, and a budget that is too small is refused with what would do."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysample.core.errors import SelectionError
from raysample.selection.race.pilot_plan import (
    LEAST_KEPT,
    LEAST_PER_CLASS,
    MOST_JUDGED,
    MOST_PART,
    ROUNDS,
    SURVIVORS,
    plan_pilot,
)


@given(
    rows=st.integers(200, 20_000),
    more=st.integers(1, 1_000),
    classes=st.integers(2, 150),
    kept=st.floats(0.1, 0.9),
    epochs=st.integers(1, 8),
    budget=st.floats(0.01, 20),
    arms=st.integers(1, 5),
)
def test_a_plan_costs_at_most_its_budget(
    rows: int, more: int, classes: int, kept: float, epochs: int, budget: float, arms: int
) -> None:
    corpus = rows * more
    plan = plan_pilot(rows, corpus, classes, kept, epochs, budget, arms)
    if plan.refused:
        assert (plan.arms, plan.part, plan.share) == (0, 0, 0.0)
        return
    # The cost again, from its definition: a training, the frozen vectors of its part, the predictions.
    trainings = ROUNDS * (plan.arms + 1)
    visits = trainings * (plan.part * kept * epochs + plan.part / 3 + plan.judged / 3)
    assert plan.share == pytest.approx(visits / (corpus * epochs))
    assert plan.share <= budget
    assert 1 <= plan.arms <= min(arms, SURVIVORS)
    assert plan.part + plan.judged <= rows
    assert plan.part <= MOST_PART
    assert plan.judged <= MOST_JUDGED
    assert kept * plan.part >= max(LEAST_KEPT, LEAST_PER_CLASS * classes) - 1e-6


def test_the_budget_that_a_refusal_names_is_enough() -> None:
    refused = plan_pilot(8_000, 8_000, 20, 0.5, 3, 0.1, 2).refused
    found = re.search(r"costs ([0-9.]+) of a training of 8,000 rows", refused)
    assert found is not None
    needed = float(found[1])
    assert plan_pilot(8_000, 8_000, 20, 0.5, 3, needed + 0.01, 2).refused == ""
    assert plan_pilot(8_000, 8_000, 20, 0.5, 3, needed - 0.02, 2).refused != ""


def test_too_few_rows_are_refused_whatever_the_budget() -> None:
    assert plan_pilot(500, 500, 20, 0.5, 3, 100.0, 2).refused == "a pilot needs 600 rows, and 500 are there"


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_a_budget_is_above_zero(budget: float) -> None:
    with pytest.raises(SelectionError, match="give a share of one training"):
        plan_pilot(8_000, 8_000, 20, 0.5, 3, budget, 1)
