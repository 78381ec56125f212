"""A settled step, and what settled steps make of a row: a pure function of it, whatever lies beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raysample.core.errors import SelectionError
from raysample.core.numerics import radix
from raysample.data.identity import NO_GROUP
from raysample.selection.policies.base import FloatArray, GlobalStatistics, IntArray, Policy, Rows, row_hash
from raysample.selection.policies.steps import InGroups, Step

OPEN, KEPT, PRUNED = 0, 1, 2
LONG = 1 << 16
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Threshold:
    """Where one stratum was cut: rows with (key, tie) at or above are taken; None where it takes all or nothing.

    `step` is the name of the step that took them: what a step takes it keeps, or, where it drops the others, hands on.
    Where every group has a threshold of its own, one entry stands for all: `stratum` is -1, `rows` and `kept` are sums.
    """

    stratum: int
    name: str
    rows: int
    kept: int
    key: float | None
    tie: int | None
    step: str = ""


@dataclass(frozen=True, eq=False)
class Stage:
    """A settled step: its facts, its cut, and for draws by weight each stratum's highest key that it left."""

    step: Step
    facts: GlobalStatistics
    cut: radix.Cut
    below: FloatArray | None = None

    @property
    def policy(self) -> Policy:
        """The step's policy."""
        return self.step.policy

    def places(self, rows: Rows) -> IntArray:
        """Return each row's stratum as a place in the cut; raises SelectionError for one that was not counted."""
        stratum, known = self.policy.strata(rows, self.facts), self.cut.groups
        if not len(known):
            known = np.array([np.iinfo(np.int64).min])
        place = np.minimum(_searched(known, stratum), len(known) - 1)
        if not np.array_equal(known[place], stratum):
            raise changed()
        return place

    def takes(self, rows: Rows, places: IntArray, key: FloatArray) -> Bools:
        """Tell which rows stand at or above their stratum's threshold; those that share its key draw lots."""
        return radix.kept(self.cut, places, radix.ordered(key), lambda at: row_hash(rows.take(at), self.facts))

    def fates(self, taken: Bools) -> npt.NDArray[np.int8]:
        """Return what becomes of rows that the step takes, or does not."""
        yes, no = {"choose": (KEPT, PRUNED), "keep": (KEPT, OPEN), "drop": (OPEN, PRUNED)}[self.step.role]
        return np.where(taken, yes, no).astype(np.int8)

    def chances(self, rows: Rows, places: IntArray, taken: Bools) -> npt.NDArray[np.float64]:
        """Return the chance of each row to be taken, over seeds: 0 or 1 by a key, or what the draw gives it.

        By lot: quota / rows of the stratum. By weight: P(ln w + Gumbel > τ) = 1 − exp(−w e^−τ), with τ the highest key
        that was not taken, as if that had been fixed beforehand: weights 1 / chance are then unbiased (Duffield, Lund
        and Thorup, J. ACM 54 (2007); Cohen and Kaplan, VLDB 2008).
        """
        share = self.cut.quota / np.maximum(self.cut.rows, 1)
        if self.policy.chance == "sure":
            return taken.astype(np.float64)
        if self.policy.chance == "lot" or self.below is None:
            return share[places]
        with np.errstate(over="ignore"):
            odds = np.exp(self.policy.log_weight(rows, self.facts) - self.below[places].astype(np.float64))
        inner = (share > 0) & (share < 1)
        found: npt.NDArray[np.float64] = np.where(inner[places], -np.expm1(-odds), share[places])
        return found

    @property
    def by_group(self) -> bool:
        """Whether the strata are groups. There may be millions, so they are told of as one."""
        return isinstance(self.policy, InGroups)

    def entries(self, places: IntArray) -> IntArray:
        """Return each row's place in `thresholds`."""
        return np.zeros_like(places) if self.by_group else places

    def thresholds(self, labels: Sequence[str]) -> list[Threshold]:
        """Return the threshold of every stratum, in the order of their numbers; one for all groups together."""
        cut = self.cut
        if self.by_group:
            name, rows, taken = self.policy.stratum_name(0, labels), int(cut.rows.sum()), int(cut.quota.sum())
            return [Threshold(NO_GROUP, name, rows, taken, None, None, self.step.name)]
        edges = radix.restored(cut.key).tolist()
        inner = ((cut.quota > 0) & (cut.quota < cut.rows)).tolist()
        return [
            Threshold(
                group,
                self.policy.stratum_name(group, labels),
                int(cut.rows[i]),
                int(cut.quota[i]),
                edges[i] if inner[i] else None,
                int(cut.tie[i]) if inner[i] else None,
                self.step.name,
            )
            for i, group in enumerate(cut.groups.tolist())
        ]


def _searched(known: IntArray, asked: IntArray) -> IntArray:
    """Return `np.searchsorted`; many questions to a long list are sorted first, or each would miss the cache."""
    if len(known) < LONG:
        return np.searchsorted(known, asked)
    order, place = np.argsort(asked), np.empty(len(asked), np.int64)
    place[order] = np.searchsorted(known, asked[order])
    return place


@dataclass(frozen=True, eq=False)
class StageDecision:
    """What a plan says of some rows, [n] each.

    Attributes:
        stage: the number of the stage that decided; fate: OPEN, KEPT or PRUNED.
        stratum: a place in the thresholds of all stages. key: the row's key there.
        chance: to be kept, over seeds; NaN where it is not known.
    """

    stage: npt.NDArray[np.int8]
    fate: npt.NDArray[np.int8]
    stratum: IntArray
    key: FloatArray
    chance: npt.NDArray[np.float64]

    @property
    def kept(self) -> Bools:
        """Which rows are kept."""
        kept: Bools = self.fate == KEPT
        return kept


def walk(stages: Sequence[Stage], rows: Rows, with_chances: bool = False) -> StageDecision:
    """Lead some rows through settled stages; without any, all rows are open.

    Chances are told if only the last stage draws: what it draws from is certain then.
    """
    n, offset = len(rows), 0
    seen = StageDecision(
        np.full(n, -1, np.int8),
        np.full(n, OPEN, np.int8),
        np.full(n, -1, np.int64),
        np.zeros(n, np.float32),
        np.full(n, np.nan),
    )
    with_chances &= all(stage.policy.chance == "sure" for stage in stages[:-1])
    for number, stage in enumerate(stages):
        at = np.flatnonzero(seen.fate == OPEN)
        mine = rows.take(at)
        places, key = stage.places(mine), keys(mine, stage.policy, stage.facts)
        taken = stage.takes(mine, places, key)
        seen.fate[at], seen.stage[at] = stage.fates(taken), number
        seen.stratum[at], seen.key[at] = stage.entries(places) + offset, key
        if with_chances:
            seen.chance[at] = stage.chances(mine, places, taken)
        offset += 1 if stage.by_group else len(stage.cut.groups)
    return seen


def keys(rows: Rows, policy: Policy, known: GlobalStatistics) -> FloatArray:
    """Return the rows' keys; raises SelectionError if one is not a number."""
    key = policy.key(rows, known)
    if np.isnan(key).any():
        raise SelectionError(
            f"{type(policy).__name__} gives {int(np.isnan(key).sum())} rows a key that is not a number",
            "mend the policy's key; every row needs a place in the order",
        )
    return key


def changed() -> SelectionError:
    """Return the error for rows that are not those which were counted."""
    return SelectionError(
        "the rows changed between two readings", "give parts that can be read again and do not change meanwhile"
    )
