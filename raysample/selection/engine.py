"""Which rows a policy keeps under a budget: exactly, from a few passes that only count.

Every pass maps a pure function over parts of the data and adds up what comes back, so a cluster can run it as it runs
here: `select` maps with threads, `plan_with` takes any map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from raysample.core.errors import SelectionError
from raysample.core.map_fn import threads
from raysample.core.numerics import radix, ranks
from raysample.selection.group_caps import Scan, cap_sketch, capped, few_per_group, not_dropped
from raysample.selection.policies.base import FloatArray, GlobalStatistics, IntArray, Policy, Rows, row_hash
from raysample.selection.policies.steps import Chain, Counts, Step, grouped, policy_columns, steps_of
from raysample.selection.stages import KEPT, OPEN, Stage, StageDecision, Threshold, changed, keys, walk
from raysample.selection.survey import Census, Gathered, census, facts, gather, merge_censuses, merge_gathered, wishes

Parts = Callable[[], Iterable[Rows]]
Stages = tuple[Stage, ...]


class RoomError(SelectionError):
    """Limits and budget do not go together; `raising` tells whether a larger budget would help, or a smaller one."""

    def __init__(self, problem: str, advice: str, *, raising: bool) -> None:
        super().__init__(problem, advice)
        self.raising = raising


@dataclass(frozen=True, eq=False)
class SelectionPlan:
    """A settled selection: a pure function of a row, picklable, the same for every layout of the data.

    Attributes:
        stages: the policy's steps, settled. columns: the scores that they read. seed: of ties and lots.
        budget: rows kept. class_counts: rows per class before the cut.
        reweights: whether kept rows weigh the inverse of their chance. grouped: whether it looks at rows' groups.
    """

    stages: Stages
    columns: tuple[str, ...]
    seed: int
    budget: int
    class_counts: tuple[int, ...]
    reweights: bool = False
    grouped: bool = False

    @property
    def rows(self) -> int:
        """Rows in all."""
        return sum(self.class_counts)

    def judge(self, rows: Rows) -> StageDecision:
        """Judge some rows. Raises SelectionError for a row of a stratum that was not there when counting."""
        return walk(self.stages, rows, with_chances=True)

    def keep(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Tell which of some rows are kept."""
        return self.judge(rows).kept

    def thresholds(self, labels: Sequence[str]) -> tuple[Threshold, ...]:
        """Return the thresholds of all stages, each in the order of its strata's numbers."""
        return tuple(threshold for stage in self.stages for threshold in stage.thresholds(labels))


def budget_of(rows: int, budget: float) -> int:
    """Return how many of `rows` rows to keep: `budget` itself if an integer, round(budget · rows) if a fraction.

    Raises SelectionError for a fraction outside (0, 1), a count outside [1, rows], or a fraction of less than a row.
    """
    if isinstance(budget, (int, np.integer)) and not isinstance(budget, bool):
        if not 1 <= budget <= rows:
            raise SelectionError(f"cannot keep {budget:,} of {rows:,} rows", f"give a count from 1 to {rows:,}")
        return int(budget)
    if isinstance(budget, bool) or not 0 < budget < 1:
        raise SelectionError(
            f"a fraction lies between 0 and 1, got {budget!r}", "give a fraction such as 0.5, or a count of rows"
        )
    count = round(budget * rows)
    if count < 1:
        raise SelectionError(f"{budget:g} of {rows:,} rows is less than one row", "give a larger fraction, or a count")
    return count


def plan_with(scan: Scan, policy: Policy | Chain, budget: float, seed: int) -> SelectionPlan:
    """Settle a selection with any map over the parts.

    Args:
        scan: calls a function on every part and yields what it returns, in any order; called once per pass.
        policy: strata, key and quotas; or several steps of these.
        budget: a fraction in (0, 1) or a count (int).
        seed: of ties and lots.

    Raises:
        SelectionError: the budget cannot be met, scores are not finite, row ids repeat, or the rows change on the way.
    """
    steps, columns = steps_of(policy), policy_columns(policy)
    seen, gathered = _first_look(scan, steps[0].policy, columns)
    keep = budget_of(seen.rows, budget)
    stages: Stages = ()
    for step in steps:
        if stages:
            gathered = _look_again(scan, step.policy, stages)
        exactly = _crowded(scan, step.policy, stages, gathered)
        known = facts(gathered, exactly, seed=seed, total=seen.rows, budget=keep)
        known = replace(known, sieve=cap_sketch(scan, step, stages, seen.rows))
        stages = (*stages, _settle(scan, step, known, stages))
    reweights = isinstance(policy, Chain) and policy.reweights
    return SelectionPlan(stages, columns, seed, keep, tuple(seen.classes.tolist()), reweights, grouped(policy))


def _first_look(scan: Scan, policy: Policy, columns: tuple[str, ...]) -> tuple[Census, Gathered]:
    counted: list[Census] = []

    def gathered() -> Iterator[Gathered]:  # merged as they come: held together they would grow with the rows
        for own, told in scan(partial(_look, policy=policy, columns=columns)):
            counted.append(own)
            yield told

    total = merge_gathered(gathered(), policy)
    seen = merge_censuses(counted)
    wrong = {name: n for name, n in seen.non_finite.items() if n}
    if wrong:
        listed = ", ".join(f"{name!r}: {n:,} of {seen.rows:,} rows" for name, n in wrong.items())
        raise SelectionError(f"scores are not finite in column {listed}", "score again, or drop these rows")
    return seen, total


def _look(rows: Rows, policy: Policy, columns: tuple[str, ...]) -> tuple[Census, Gathered]:
    return census(rows, columns), gather(rows, policy)


def _look_again(scan: Scan, policy: Policy, stages: Stages) -> Gathered:
    """Gather what a later step must know, over the rows that no step before it dropped."""
    return (
        merge_gathered(scan(partial(_look_at_rest, policy=policy, stages=stages)), policy)
        if wishes(policy)
        else Gathered()
    )


def _look_at_rest(rows: Rows, policy: Policy, stages: Stages) -> Gathered:
    return gather(not_dropped(rows, stages), policy)


def _crowded(scan: Scan, policy: Policy, stages: Stages, seen: Gathered) -> dict[str, ranks.Counts]:
    """Count the crowded cells of the ranked columns by all bits."""
    cells = {name: ranks.crowded(counts) for name, counts in seen.coarse.items()}
    found: dict[str, ranks.Counts] = {name: ranks.merge_ranks([]) for name in cells}
    for part in scan(partial(_look_closer, cells=cells, stages=stages)) if policy.ranked else ():
        found = {name: ranks.merge_ranks([found[name], counts]) for name, counts in part.items()}
    return found


def _look_closer(rows: Rows, cells: dict[str, IntArray], stages: Stages) -> dict[str, ranks.Counts]:
    rest = not_dropped(rows, stages)
    return {name: ranks.fine(rest.scores[name], crowded) for name, crowded in cells.items()}


def histogram(
    rows: Rows, policy: Policy, known: GlobalStatistics, stages: Stages, cut: radix.Cut | None
) -> tuple[radix.Histogram, radix.Histogram]:
    """Count one part's open rows for the next round; `cut` is None in the first, which counts every open row.

    The first round also counts the rows that are kept already, by stratum. Raises SelectionError if the policy's key is
    not a number for some row.
    """
    fate = walk(stages, rows).fate if stages else np.full(len(rows), OPEN, np.int8)
    standing = rows.take(np.flatnonzero(fate == KEPT)) if stages else rows.take(np.zeros(0, np.int64))
    rows = rows.take(np.flatnonzero(fate == OPEN))
    stratum, key = policy.strata(rows, known), radix.ordered(keys(rows, policy, known))
    tie = np.broadcast_to(np.uint64(0), len(rows))
    if cut is not None:
        if cut.rounds >= radix.KEY_ROUNDS:  # reading and hashing ids is most of the work, so only where they decide
            level = np.flatnonzero(radix.level(cut, stratum, key))
            stratum, key, tie = stratum[level], key[level], row_hash(rows.take(level), known)
        return radix.count_digits(*radix.next_round_digits(cut, stratum, key, tie)), radix.merge_histograms(())
    beside = policy.strata(standing, known)
    return radix.count_digits(stratum, radix.digit_of(key, tie, 0)), radix.count_digits(
        beside, np.zeros(len(beside), np.int64)
    )


def _settle(scan: Scan, step: Step, known: GlobalStatistics, stages: Stages) -> Stage:
    if few_per_group(step, stages):
        stage = capped(scan, step, known, stages)
        open_rows, left = int(stage.cut.rows.sum()), known.budget
        _check_room(step, int(stage.cut.quota.sum()), Counts(known.total, open_rows, known.budget, left))
        return stage
    policy = step.policy
    beside: list[radix.Histogram] = []

    def first_round() -> Iterator[radix.Histogram]:  # merged as they come, like what the first look gathers
        for own, kept in scan(partial(histogram, policy=policy, known=known, stages=stages, cut=None)):
            beside.append(kept)
            yield own

    counted = radix.merge_histograms(first_round())
    standing = radix.merge_histograms(beside)
    strata, rows = radix.totals(counted)
    taken, dropped = _decided(stages)
    if int(rows.sum()) != known.total - taken - dropped:
        raise changed()
    counts = Counts(known.total, int(rows.sum()), known.budget, known.budget - taken)
    cut = radix.initial_cut(strata, rows, _quotas(step, strata, rows, standing, counts))
    while not cut.settled:
        if cut.rounds == radix.ROUNDS:
            raise SelectionError(
                f"{int(cut.inside.max()):,} rows share one row id, and the budget would split them",
                "give every row its own id; if the ids do differ, choose another seed",
            )
        try:
            cut = radix.advance(cut, counted)
        except ValueError as error:
            raise changed() from error
        if not cut.settled and cut.rounds < radix.ROUNDS:
            again = scan(partial(histogram, policy=policy, known=known, stages=stages, cut=cut))
            counted = radix.merge_histograms(one for one, _ in again)
    stage = Stage(step, known, cut)
    return replace(stage, below=_highest_left(scan, stage, stages)) if policy.chance == "weight" else stage


def _decided(stages: Stages) -> tuple[int, int]:
    """Return how many rows the stages kept, and how many they dropped."""
    kept = sum(int(stage.cut.quota.sum()) for stage in stages if stage.step.role == "keep")
    dropped = sum(int((stage.cut.rows - stage.cut.quota).sum()) for stage in stages if stage.step.role == "drop")
    return kept, dropped


def _quotas(step: Step, strata: IntArray, rows: IntArray, standing: radix.Histogram, counts: Counts) -> IntArray:
    """Return how many rows of each stratum a step takes, checked against what is there and the budget."""
    if step.limit is not None:
        beside = np.zeros(len(strata), np.int64)
        known = np.isin(standing.group, strata)
        beside[np.searchsorted(strata, standing.group[known])] = standing.count[known]
        quotas = step.limit.quotas(strata, rows, beside)
        size = int(quotas.sum())
    else:
        size = step.size(counts)
        quotas = step.policy.quotas(strata, rows, size) if len(strata) and 0 <= size <= counts.open else rows * 0
        if int(quotas.sum()) != size or (quotas < 0).any() or (quotas > rows).any():
            _check_room(step, size, counts)
            raise SelectionError(
                f"{type(step.policy).__name__} shares {size:,} rows as {quotas.tolist()} among strata of "
                f"{rows.tolist()}",
                "mend the policy's quotas: between 0 and the stratum's rows, summing to the budget",
            )
    _check_room(step, size, counts)
    return quotas


def _check_room(step: Step, size: int, counts: Counts) -> None:
    if step.role == "keep" and size > counts.left:
        raise RoomError(
            f"{step.name!r} keeps {size:,} rows, and {counts.left:,} of the budget of {counts.budget:,} are left",
            "raise the budget, or lower what must be kept",
            raising=True,
        )
    left = size if step.role == "drop" else counts.open
    if step.role != "keep" and left < counts.left:
        raise RoomError(
            f"{step.name or 'the policy'!r} leaves {left:,} rows, the budget needs {counts.left:,} of them",
            "lower the budget, or drop fewer rows",
            raising=False,
        )


def _highest_left(scan: Scan, stage: Stage, stages: Stages) -> FloatArray:
    """Return per stratum the highest key of the rows that a stage does not take, −∞ where it takes all."""
    found = np.full(len(stage.cut.groups), -np.inf, np.float32)
    for part in scan(partial(_left_keys, stage=stage, stages=stages)):
        found = np.maximum(found, part)
    return found


def _left_keys(rows: Rows, stage: Stage, stages: Stages) -> FloatArray:
    rows = rows.take(np.flatnonzero(walk(stages, rows).fate == OPEN))
    places, key = stage.places(rows), keys(rows, stage.policy, stage.facts)
    left = ~stage.takes(rows, places, key)
    found = np.full(len(stage.cut.groups), -np.inf, np.float32)
    np.maximum.at(found, places[left], key[left])
    return found


def select(parts: Parts, policy: Policy | Chain, budget: float, seed: int = 0) -> SelectionPlan:
    """Settle a selection in this process; `parts()` is called once per pass. Raises SelectionError as `plan_with`."""
    return plan_with(lambda visit: threads(visit, parts()), policy, budget, seed)


def choose_rows(
    parts: Sequence[Rows], policy: Policy | Chain, budget: float, seed: int = 0
) -> list[npt.NDArray[np.bool_]]:
    """Return for each part in memory which rows are kept; raises SelectionError as `plan_with`."""
    plan = select(lambda: parts, policy, budget, seed)
    return [plan.keep(rows) for rows in parts]
