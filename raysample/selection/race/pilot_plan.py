"""How much a pilot trains: rows, trainings and their cost as a share of one training on all rows.

The unit of cost is a row that goes forward and backward once; a row that only goes forward counts a third. So the plan,
and with it the decision, does not depend on how fast the machine is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from raysample.core.errors import SelectionError

ROUNDS = 8
"""Rounds of a pilot, at most; each trains every arm once, on rows of its own."""
LOOKS = (4, 6, 8)
"""Rounds after which the pilot may end."""
SURVIVORS = 2
"""Candidates of the race that are fine-tuned, at most."""
MOST_PART, MOST_JUDGED, JUDGED_PER_ROW = 8_000, 2_000, 2
"""Rows of a part and judged rows, at most, and judged rows for each row of a part: predicting is cheap."""
LEAST_KEPT, LEAST_PER_CLASS = 100, 4
"""Rows that a selection of a part must keep at least, and how many of them for each class."""
_FORWARD = 1 / 3


@dataclass(frozen=True)
class PilotPlan:
    """The size of a pilot.

    Attributes:
        arms: number of arms beside stratified random sampling.
        part: rows that selections are drawn from in a round. judged: other rows that are predicted in a round.
        share: cost of all rounds, as a share of one training on all rows.
        refused: why there can be no pilot; empty if there can.
    """

    arms: int
    part: int
    judged: int
    share: float
    refused: str = ""


def plan_pilot(
    rows: int, corpus_rows: int, classes: int, kept: float, epochs: int, budget: float, arms: int
) -> PilotPlan:
    """Return the largest pilot within a budget; fewer arms if the budget does not pay for all.

    Args:
        rows: rows that may be used. corpus_rows: rows of a training on all data.
        classes: number of classes. kept: share that a selection keeps. epochs: of a training.
        budget: largest share of the cost of one training on all rows.
        arms: candidates to compare with stratified random sampling.

    Raises:
        SelectionError: the budget is not above 0.

    >>> plan_pilot(20_000, 100_000, 10, 0.5, 3, budget=0.3, arms=1).part
    2704
    >>> plan_pilot(8_000, 8_000, 20, 0.5, 3, budget=0.1, arms=1).refused
    'a pilot costs 0.33 of a training of 8,000 rows at least, and the budget is 0.1'
    """
    if not budget > 0:
        raise SelectionError(f"the budget of the pilot is {budget!r}", "give a share of one training, such as 0.3")
    least = math.ceil(max(LEAST_KEPT, LEAST_PER_CLASS * classes) / kept)
    for count in range(min(arms, SURVIVORS), 0, -1):
        part = _part(rows, corpus_rows * epochs * budget, kept * epochs, count)
        if part >= least:
            return PilotPlan(count, part, _judged(part), _visits(part, kept * epochs, count) / (corpus_rows * epochs))
    if least + _judged(least) > rows:
        why = f"a pilot needs {least + _judged(least):,} rows, and {rows:,} are there"
    else:
        share = _visits(least, kept * epochs, 1) / (corpus_rows * epochs)
        why = f"a pilot costs {share:.2f} of a training of {corpus_rows:,} rows at least, and the budget is {budget:g}"
    return PilotPlan(0, 0, 0, 0.0, why)


def _part(rows: int, visits: float, passes: float, arms: int) -> int:
    """Return the largest part within a number of visits that leaves rows to judge."""
    each = visits / (ROUNDS * (arms + 1))
    part = int(each / (passes + _FORWARD * (1 + JUDGED_PER_ROW)))
    if _judged(part) == MOST_JUDGED:
        part = int((each - _FORWARD * MOST_JUDGED) / (passes + _FORWARD))
    return min(part, MOST_PART, max(rows // (1 + JUDGED_PER_ROW), rows - MOST_JUDGED))


def _judged(part: int) -> int:
    """Return the number of judged rows beside a part."""
    return min(JUDGED_PER_ROW * part, MOST_JUDGED)


def visits_of(plan: PilotPlan, passes: float) -> float:
    """Return the cost of one training of a plan in rows, for `passes` = kept share times epochs."""
    return plan.part * passes + _FORWARD * (plan.part + plan.judged)


def _visits(part: int, passes: float, arms: int) -> float:
    """Return the cost of all rounds: trainings, frozen vectors of the part, predictions of the judged rows."""
    return ROUNDS * (arms + 1) * (part * passes + _FORWARD * (part + _judged(part)))
