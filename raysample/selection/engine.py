"""The exact-selection engine: which rows a policy keeps under a budget, from a few passes that only count.

Per stratum the engine finds the k-th largest key exactly, k the stratum's quota, without sorting or shuffling rows.
Keys are float32, mapped to 32-bit words in the same order (`radix.ordered`); ties are broken by a 64-bit hash of the
row id and the seed. Each pass counts the next 16 bits of (key, tie) for the rows that the bits so far leave undecided,
and `radix.advance` narrows every stratum's cut to one bin. Memory is strata x bins, whatever the number of rows.

Passes over the rows: one for the class counts and the statistics of the first step; then per step one for
the statistics of the rows that are left (if the key needs any), one for exact ranks (if it ranks), one to six for the
cut (two settle the 32 bits of the key, up to four more the 64 bits of the tie), and one more for the chances of draws
by weight. A step is a pure function of a row and of the finished steps, so nothing is stored between
passes.

Every pass maps a pure function over parts of the data and adds up the results, in any order, so the result is the same
in this process and on a cluster: `select` maps with threads, `plan_with` takes any map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import Float32Array, IntArray
from raysample.core.errors import SelectionError
from raysample.core.map_fn import threads
from raysample.core.numerics import radix, ranks
from raysample.selection.group_caps import Scan, cap_sketch, capped, few_per_group, not_dropped
from raysample.selection.policies.base import GlobalStatistics, Policy, Rows, row_hash
from raysample.selection.policies.steps import Chain, Counts, Step, grouped, policy_columns, steps_of
from raysample.selection.stages import FATE_KEPT, FATE_OPEN, Stage, StageDecision, Threshold, changed, keys, walk
from raysample.selection.step_quotas import budget_of, check_budget, rows_decided, step_quotas
from raysample.selection.survey import (
    Census,
    Gathered,
    census,
    facts,
    gather,
    merge_censuses,
    merge_gathered,
    needs_statistics,
    rank_group,
)

Parts = Callable[[], Iterable[Rows]]
Stages = tuple[Stage, ...]


@dataclass(frozen=True, eq=False)
class SelectionPlan:
    """A finished selection: a pure, picklable function of a row that does not depend on the layout of the data.

    Attributes:
        stages: the policy's steps with their cuts.
        columns: the score columns that they read.
        seed: seed of ties and random draws.
        budget: number of rows kept.
        class_counts: rows per class before the cut.
        reweights: whether kept rows are weighted by the inverse of their inclusion probability.
        grouped: whether the policy reads the rows' groups.
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
        """Number of rows that the plan was made for."""
        return sum(self.class_counts)

    def judge(self, rows: Rows) -> StageDecision:
        """Return the decisions for some rows; raises SelectionError for a stratum that was never counted."""
        return walk(self.stages, rows, with_chances=True)

    def keep(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Return [n] bool, which of some rows are kept."""
        return self.judge(rows).kept

    def thresholds(self, labels: Sequence[str]) -> tuple[Threshold, ...]:
        """Return the thresholds of all stages, stage by stage, in the order of the strata's numbers."""
        return tuple(threshold for stage in self.stages for threshold in stage.thresholds(labels))


def plan_with(scan: Scan, policy: Policy | Chain, budget: float, seed: int) -> SelectionPlan:
    """Plan a selection with any map over the parts.

    The plan keeps exactly the budgeted number of rows and does not depend on the order or the cutting of the parts.

    Args:
        scan: calls a function on every part and yields the results, in any order; called once per pass.
        policy: strata, key and quotas, or a chain of such steps.
        budget: a fraction in (0, 1) or a count (int).
        seed: seed of ties and random draws.

    Raises:
        SelectionError: the budget cannot be met, scores are not finite, row ids repeat, or rows change between passes.
    """
    # Steps are planned in order: the rows that step k sees are a pure function of the finished stages before it, so no
    # state is stored between passes; every pass evaluates the finished stages again.
    steps, columns = steps_of(policy), policy_columns(policy)
    everything, gathered = _first_pass(scan, steps[0].policy, columns)
    keep = budget_of(everything.rows, budget)
    stages: Stages = ()
    for step in steps:
        if stages:
            gathered = _gather_remaining(scan, step.policy, stages)
        exactly = _count_crowded(scan, step.policy, stages, gathered)
        known = facts(gathered, exactly, seed=seed, total=everything.rows, budget=keep)
        known = replace(known, sieve=cap_sketch(scan, step, stages, everything.rows))
        stages = (*stages, _plan_stage(scan, step, known, stages))
    reweights = isinstance(policy, Chain) and policy.reweights
    return SelectionPlan(stages, columns, seed, keep, tuple(everything.classes.tolist()), reweights, grouped(policy))


def _first_pass(scan: Scan, policy: Policy, columns: tuple[str, ...]) -> tuple[Census, Gathered]:
    """Count the classes of all rows and gather the first step's statistics; refuse scores that are not finite."""
    censuses: list[Census] = []

    def gathered() -> Iterator[Gathered]:  # merged one by one: together they would grow with the rows
        """Yield the parts' statistics, and keep their class counts."""
        for own, statistics in scan(partial(_count_and_gather, policy=policy, columns=columns)):
            censuses.append(own)
            yield statistics

    total = merge_gathered(gathered(), policy)
    total_census = merge_censuses(censuses)
    wrong = {name: n for name, n in total_census.non_finite.items() if n}
    if wrong:
        listed = ", ".join(f"{name!r}: {n:,} of {total_census.rows:,} rows" for name, n in wrong.items())
        raise SelectionError(f"scores are not finite in column {listed}", "score again, or drop these rows")
    return total_census, total


def _count_and_gather(rows: Rows, policy: Policy, columns: tuple[str, ...]) -> tuple[Census, Gathered]:
    """Return one part's class counts and statistics."""
    return census(rows, columns), gather(rows, policy)


def _gather_remaining(scan: Scan, policy: Policy, stages: Stages) -> Gathered:
    """Gather the statistics of a later step, over the rows that no earlier step dropped."""
    return (
        merge_gathered(scan(partial(_gather_not_dropped, policy=policy, stages=stages)), policy)
        if needs_statistics(policy)
        else Gathered()
    )


def _gather_not_dropped(rows: Rows, policy: Policy, stages: Stages) -> Gathered:
    """Return one part's statistics over the rows that no stage dropped."""
    return gather(not_dropped(rows, stages), policy)


def _count_crowded(scan: Scan, policy: Policy, stages: Stages, gathered: Gathered) -> dict[str, ranks.RankCounts]:
    """Count the values in crowded coarse cells of the ranked columns by all their bits, for exact ranks."""
    cells = {name: ranks.crowded(counts) for name, counts in gathered.coarse.items()}
    result: dict[str, ranks.RankCounts] = {name: ranks.merge_ranks([]) for name in cells}
    count = partial(_count_crowded_part, policy=policy, cells=cells, stages=stages)
    for part in scan(count) if policy.ranked else ():
        result = {name: ranks.merge_ranks([result[name], counts]) for name, counts in part.items()}
    return result


def _count_crowded_part(
    rows: Rows, policy: Policy, cells: dict[str, IntArray], stages: Stages
) -> dict[str, ranks.RankCounts]:
    """Return one part's exact counts in crowded cells, by score column."""
    rest = not_dropped(rows, stages)
    group = rank_group(rest, policy)
    return {name: ranks.fine(rest.scores[name], crowded, group) for name, crowded in cells.items()}


def histogram(
    rows: Rows, policy: Policy, known: GlobalStatistics, stages: Stages, cut: radix.Cut | None
) -> tuple[radix.Histogram, radix.Histogram]:
    """Count one part's open rows for the next radix round, by (stratum, 16-bit digit).

    Args:
        rows: the part.
        policy, known: give each row's stratum and key.
        stages: the earlier steps of the chain; only rows that they left open take part.
        cut: the cut after the earlier rounds; None in the first round, which counts every open row.

    Returns:
        The histogram of open rows, and in the first round that of rows already kept, by stratum (for limits that count
        them). The second one is empty in later rounds.

    Raises:
        SelectionError: the policy's key is not a number for some row.
    """
    # Rows that an earlier step kept count for limits of their stratum, but not as candidates.
    fate = walk(stages, rows).fate if stages else np.full(len(rows), FATE_OPEN, np.int8)
    standing = rows.take(np.flatnonzero(fate == FATE_KEPT)) if stages else rows.take(np.zeros(0, np.int64))
    rows = rows.take(np.flatnonzero(fate == FATE_OPEN))
    stratum, key = policy.strata(rows, known), radix.ordered(keys(rows, policy, known))
    tie = np.broadcast_to(np.uint64(0), len(rows))  # no memory; replaced once ties matter
    if cut is not None:
        if cut.rounds >= radix.KEY_ROUNDS:  # hashing row ids is most of the work: only for rows at the threshold
            level = np.flatnonzero(radix.level(cut, stratum, key))
            stratum, key, tie = stratum[level], key[level], row_hash(rows.take(level), known)
        return radix.count_digits(*radix.next_round_digits(cut, stratum, key, tie)), radix.merge_histograms(())
    beside = policy.strata(standing, known)
    return radix.count_digits(stratum, radix.digit_of(key, tie, 0)), radix.count_digits(
        beside, np.zeros(len(beside), np.int64)
    )


def _plan_stage(scan: Scan, step: Step, known: GlobalStatistics, stages: Stages) -> Stage:
    """Find a step's cut: its quotas per stratum, then the exact thresholds by radix rounds.

    Invariant: after each round every undecided row shares all counted bits of its stratum's threshold. After ROUNDS
    rounds (all bits of key and tie) rows that are still together have equal row ids, and an exact cut is impossible.
    """
    if few_per_group(step, stages):
        stage = capped(scan, step, known, stages)
        open_rows, left = int(stage.cut.rows.sum()), known.budget
        check_budget(step, int(stage.cut.quota.sum()), Counts(known.total, open_rows, known.budget, left))
        return stage
    policy = step.policy
    beside: list[radix.Histogram] = []

    def first_round() -> Iterator[radix.Histogram]:  # merged one by one, like the statistics of the first pass
        """Yield the parts' histograms of open rows, and keep those of rows already kept."""
        for own, kept in scan(partial(histogram, policy=policy, known=known, stages=stages, cut=None)):
            beside.append(kept)
            yield own

    counted = radix.merge_histograms(first_round())
    standing = radix.merge_histograms(beside)
    # The first round counts every open row once, which also checks that no row was lost since the first pass.
    strata, rows = radix.totals(counted)
    taken, dropped = rows_decided(stages)
    if int(rows.sum()) != known.total - taken - dropped:
        raise changed()
    counts = Counts(known.total, int(rows.sum()), known.budget, known.budget - taken)
    cut = radix.initial_cut(strata, rows, step_quotas(step, strata, rows, standing, counts))
    while not cut.settled:
        if cut.rounds == radix.TOTAL_ROUNDS:
            raise SelectionError(
                f"{int(cut.inside.max()):,} rows share one row id, and the budget would split them",
                "give every row its own id; if the ids do differ, choose another seed",
            )
        # One digit further: each undecided stratum moves to the bin that holds its k-th largest candidate.
        try:
            cut = radix.advance(cut, counted)
        except ValueError as error:
            raise changed() from error
        if not cut.settled and cut.rounds < radix.TOTAL_ROUNDS:
            again = scan(partial(histogram, policy=policy, known=known, stages=stages, cut=cut))
            counted = radix.merge_histograms(one for one, _ in again)
    stage = Stage(step, known, cut)
    return replace(stage, below=_highest_not_taken(scan, stage, stages)) if policy.chance == "weight" else stage


def _highest_not_taken(scan: Scan, stage: Stage, stages: Stages) -> Float32Array:
    """Return per stratum the highest key of the rows that a stage does not take, -inf if it takes all.

    This is the threshold τ of the inclusion probabilities in `Stage.chances`.
    """
    result = np.full(len(stage.cut.groups), -np.inf, np.float32)
    for part in scan(partial(_keys_not_taken, stage=stage, stages=stages)):
        result = np.maximum(result, part)
    return result


def _keys_not_taken(rows: Rows, stage: Stage, stages: Stages) -> Float32Array:
    """Return one part's highest key per stratum among the open rows that a stage does not take."""
    rows = rows.take(np.flatnonzero(walk(stages, rows).fate == FATE_OPEN))
    places, key = stage.places(rows), keys(rows, stage.policy, stage.facts)
    left = ~stage.takes(rows, places, key)
    result = np.full(len(stage.cut.groups), -np.inf, np.float32)
    np.maximum.at(result, places[left], key[left])
    return result


def select(parts: Parts, policy: Policy | Chain, budget: float, seed: int = 0) -> SelectionPlan:
    """Plan a selection in this process; `parts()` is called once per pass. Raises SelectionError as `plan_with`."""
    return plan_with(lambda visit: threads(visit, parts()), policy, budget, seed)


def choose_rows(
    parts: Sequence[Rows], policy: Policy | Chain, budget: float, seed: int = 0
) -> list[npt.NDArray[np.bool_]]:
    """Return for each part in memory the mask of kept rows; raises SelectionError as `plan_with`."""
    plan = select(lambda: parts, policy, budget, seed)
    return [plan.keep(rows) for rows in parts]
