"""Which rows a policy keeps under a budget: exactly, from a few passes that only count.

Every pass maps a pure function over parts of the data and adds up what comes back, so a cluster can run it as it runs
here: `select` maps in this process, `plan_with` takes any map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from raysample.errors import SelectionError
from raysample.numerics import radix
from raysample.numerics.exact_moments import ExactSums, exact_sums, merge_sums, moments
from raysample.policies.base import Facts, FloatArray, IntArray, Policy, Rows, lottery

Parts = Callable[[], Iterable[Rows]]
Scan = Callable[[Callable[[Rows], Any]], Iterable[Any]]


@dataclass(frozen=True, eq=False)
class Survey:
    """What the first pass counts: rows per class [C], non-finite values and exact sums per score column."""

    classes: IntArray
    non_finite: Mapping[str, int]
    sums: Mapping[str, ExactSums]

    @property
    def rows(self) -> int:
        """Rows in all."""
        return int(self.classes.sum())


def survey(rows: Rows, policy: Policy) -> Survey:
    """Count one part. Raises SelectionError for a negative label."""
    if len(rows) and rows.label.min() < 0:
        raise SelectionError(
            f"{int((rows.label < 0).sum())} rows have a negative label", "quarantine rows without a label"
        )
    non_finite = {name: int((~np.isfinite(rows.scores[name])).sum()) for name in policy.columns}
    sums = {}
    if policy.moments_over != "none":
        group = rows.label if policy.moments_over == "class" else np.zeros(len(rows), np.int32)
        groups = int(group.max()) + 1 if len(rows) else 0
        sums = {name: exact_sums(rows.scores[name], group, groups) for name in policy.columns}
    return Survey(np.bincount(rows.label).astype(np.int64), non_finite, sums)


def merge_surveys(parts: Iterable[Survey]) -> Survey:
    """Add the surveys of all parts."""
    total = Survey(np.zeros(0, np.int64), {}, {})
    for part in parts:
        classes = np.zeros(max(len(total.classes), len(part.classes)), np.int64)
        for counts in (total.classes, part.classes):
            classes[: len(counts)] += counts
        non_finite = {name: n + total.non_finite.get(name, 0) for name, n in part.non_finite.items()}
        known = {name: [total.sums[name]] if name in total.sums else [] for name in part.sums}
        total = Survey(classes, non_finite, {name: merge_sums([*known[name], part.sums[name]]) for name in known})
    return total


def histogram(rows: Rows, policy: Policy, facts: Facts, cut: radix.Cut | None) -> radix.Histogram:
    """Count one part for the next round; `cut` is None in the first, which counts every row.

    Raises SelectionError if the policy's key is not a number for some row.
    """
    stratum, tie = policy.strata(rows, facts), lottery(rows, facts)
    key = radix.ordered(_key(rows, policy, facts))
    if cut is None:
        return radix.tally(stratum, radix.digit_of(key, tie, 0))
    return radix.tally(*radix.candidates(cut, stratum, key, tie))


def _key(rows: Rows, policy: Policy, facts: Facts) -> FloatArray:
    key = policy.key(rows, facts)
    if np.isnan(key).any():
        raise SelectionError(
            f"{type(policy).__name__} gives {int(np.isnan(key).sum())} rows a key that is not a number",
            "mend the policy's key; every row needs a place in the order",
        )
    return key


@dataclass(frozen=True)
class Threshold:
    """Where one stratum was cut: rows with (key, tie) at or above are kept; None where it keeps all or nothing."""

    stratum: int
    name: str
    rows: int
    kept: int
    key: float | None
    tie: int | None


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a plan says of some rows, [n] each: the stratum's place in `Plan.thresholds`, the key, kept or not."""

    stratum: IntArray
    key: FloatArray
    kept: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Plan:
    """A settled selection: a pure function of a row, picklable, the same for every layout of the data.

    Attributes:
        policy, facts: how rows are keyed. cut: the thresholds in bits.
        budget: rows kept. class_counts: rows per class before the cut.
    """

    policy: Policy
    facts: Facts
    cut: radix.Cut
    budget: int
    class_counts: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Rows in all."""
        return sum(self.class_counts)

    def judge(self, rows: Rows) -> Judgement:
        """Judge some rows. Raises SelectionError for a row of a stratum that was not there when counting."""
        stratum, key = self.policy.strata(rows, self.facts), _key(rows, self.policy, self.facts)
        if not np.isin(stratum, self.cut.groups).all():
            raise _changed()
        kept = radix.kept(self.cut, stratum, radix.ordered(key), lottery(rows, self.facts))
        return Judgement(np.searchsorted(self.cut.groups, stratum), key, kept)

    def keep(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Tell which of some rows are kept."""
        return self.judge(rows).kept

    def thresholds(self, labels: Sequence[str]) -> tuple[Threshold, ...]:
        """Return the threshold of every stratum, in the order of their numbers."""
        cut = self.cut
        edges = radix.restored(cut.key).tolist()
        inner = ((cut.quota > 0) & (cut.quota < cut.rows)).tolist()
        return tuple(
            Threshold(
                group,
                self.policy.stratum_name(group, labels),
                int(cut.rows[i]),
                int(cut.quota[i]),
                edges[i] if inner[i] else None,
                int(cut.tie[i]) if inner[i] else None,
            )
            for i, group in enumerate(cut.groups.tolist())
        )


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


def plan_with(scan: Scan, policy: Policy, budget: float, seed: int) -> Plan:
    """Settle a selection with any map over the parts.

    Args:
        scan: calls a function on every part and yields what it returns, in any order; called once per pass.
        policy: strata, key and quotas.
        budget: a fraction in (0, 1) or a count (int).
        seed: of ties and lots.

    Raises:
        SelectionError: the budget cannot be met, scores are not finite, row ids repeat, or the rows change on the way.
    """
    seen = merge_surveys(scan(partial(survey, policy=policy)))
    wrong = {name: n for name, n in seen.non_finite.items() if n}
    if wrong:
        listed = ", ".join(f"{name!r}: {n:,} of {seen.rows:,} rows" for name, n in wrong.items())
        raise SelectionError(f"scores are not finite in column {listed}", "score again, or drop these rows")
    keep = budget_of(seen.rows, budget)
    facts = Facts(seed, {name: moments(sums) for name, sums in seen.sums.items()})
    cut = _settle(scan, policy, facts, seen.rows, keep)
    return Plan(policy, facts, cut, keep, tuple(seen.classes.tolist()))


def _settle(scan: Scan, policy: Policy, facts: Facts, total: int, budget: int) -> radix.Cut:
    counted = radix.merge(scan(partial(histogram, policy=policy, facts=facts, cut=None)))
    strata, rows = radix.totals(counted)
    if int(rows.sum()) != total:
        raise _changed()
    quotas = policy.quotas(strata, rows, budget)
    if int(quotas.sum()) != budget or (quotas < 0).any() or (quotas > rows).any():
        raise SelectionError(
            f"{type(policy).__name__} shares {budget:,} rows as {quotas.tolist()} among strata of {rows.tolist()}",
            "mend the policy's quotas: between 0 and the stratum's rows, summing to the budget",
        )
    cut = radix.start(strata, rows, quotas)
    while not cut.settled:
        if cut.rounds == radix.ROUNDS:
            raise SelectionError(
                f"{int(cut.inside.max()):,} rows share one row id, and the budget would split them",
                "give every row its own id; if the ids do differ, choose another seed",
            )
        try:
            cut = radix.advance(cut, counted)
        except ValueError as error:
            raise _changed() from error
        if not cut.settled and cut.rounds < radix.ROUNDS:
            counted = radix.merge(scan(partial(histogram, policy=policy, facts=facts, cut=cut)))
    return cut


def _changed() -> SelectionError:
    return SelectionError(
        "the rows changed between two readings", "give parts that can be read again and do not change meanwhile"
    )


def select(parts: Parts, policy: Policy, budget: float, seed: int = 0) -> Plan:
    """Settle a selection in this process; `parts()` is called once per pass. Raises SelectionError as `plan_with`."""
    return plan_with(lambda visit: map(visit, parts()), policy, budget, seed)


def choose(parts: Sequence[Rows], policy: Policy, budget: float, seed: int = 0) -> list[npt.NDArray[np.bool_]]:
    """Return for each part in memory which rows are kept; raises SelectionError as `plan_with`."""
    plan = select(lambda: parts, policy, budget, seed)
    return [plan.keep(rows) for rows in parts]
