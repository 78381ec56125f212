"""A finished step of a selection (stage) and the decisions of stages on rows: a pure function of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import Float32Array, IntArray
from raysample.core.errors import SelectionError
from raysample.core.numerics import radix
from raysample.data.identity import NO_GROUP
from raysample.selection.policies.base import GlobalStatistics, Policy, Rows, row_hash
from raysample.selection.policies.steps import InGroups, Step

FATE_OPEN, FATE_KEPT, FATE_PRUNED = 0, 1, 2
LONG = 1 << 16
"""Length of a sorted list from which on lookups are sorted first."""
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Threshold:
    """The cut of one stratum: rows with (key, tie) at or above it are taken; None if all or no rows are taken.

    `step` is the name of the step. Rows that a step takes are kept, or, if the step drops the others, passed on to the
    next step. A step with a threshold per group has one entry: `stratum` is -1, `rows` and `kept` are sums.
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
    """A finished step: its statistics, its cut, and for draws by weight each stratum's highest key not taken."""

    step: Step
    facts: GlobalStatistics
    cut: radix.Cut
    below: Float32Array | None = None

    @property
    def policy(self) -> Policy:
        """The step's policy."""
        return self.step.policy

    def places(self, rows: Rows) -> IntArray:
        """Return each row's stratum as an index into the cut; raises SelectionError for a stratum never counted."""
        # A stratum without an entry was not counted, so the data changed between two passes.
        stratum, known = self.policy.strata(rows, self.facts), self.cut.groups
        if not len(known):
            known = np.array([np.iinfo(np.int64).min])
        place = np.minimum(_searched(known, stratum), len(known) - 1)
        if not np.array_equal(known[place], stratum):
            raise changed()
        return place

    def takes(self, rows: Rows, places: IntArray, key: Float32Array) -> Bools:
        """Return which rows lie at or above their stratum's threshold; rows with the threshold's key compare ties."""
        return radix.kept(self.cut, places, radix.ordered(key), lambda at: row_hash(rows.take(at), self.facts))

    def fates(self, taken: Bools) -> npt.NDArray[np.int8]:
        """Return FATE_OPEN, FATE_KEPT or FATE_PRUNED per row, from whether the step takes it."""
        yes, no = {
            "choose": (FATE_KEPT, FATE_PRUNED),
            "keep": (FATE_KEPT, FATE_OPEN),
            "drop": (FATE_OPEN, FATE_PRUNED),
        }[self.step.role]
        return np.where(taken, yes, no).astype(np.int8)

    def chances(self, rows: Rows, places: IntArray, taken: Bools) -> npt.NDArray[np.float64]:
        """Return the probability over seeds that the step takes each row, [n] float64: 0 or 1 for a fixed key.

        Uniform draws: quota / rows of the stratum. Draws by weight w: P(ln w + Gumbel > τ) = 1 − exp(−w e^−τ), τ the
        highest key not taken, treated as fixed. Weights 1 / probability are then unbiased (Duffield, Lund and Thorup,
        J. ACM 54 (2007); Cohen and Kaplan, VLDB 2008).
        """
        share = self.cut.quota / np.maximum(self.cut.rows, 1)  # [S]
        if self.policy.chance == "sure":
            return taken.astype(np.float64)
        if self.policy.chance == "lot" or self.below is None:
            return share[places]
        with np.errstate(over="ignore"):
            odds = np.exp(self.policy.log_weight(rows, self.facts) - self.below[places].astype(np.float64))
        # Strata that are kept or pruned as a whole have probability 1 or 0, whatever the weights.
        inner = (share > 0) & (share < 1)
        result: npt.NDArray[np.float64] = np.where(inner[places], -np.expm1(-odds), share[places])
        return result

    @property
    def by_group(self) -> bool:
        """Whether the strata are groups. There may be millions, so they share one threshold entry."""
        return isinstance(self.policy, InGroups)

    def entries(self, places: IntArray) -> IntArray:
        """Return each row's index into `thresholds`."""
        return np.zeros_like(places) if self.by_group else places

    def thresholds(self, labels: Sequence[str]) -> list[Threshold]:
        """Return the threshold of every stratum, in the order of the strata's numbers; one entry for all groups."""
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


def _searched(known: IntArray, wanted: IntArray) -> IntArray:
    """Return `np.searchsorted(known, wanted)`; long lists are searched in sorted order, to avoid cache misses."""
    if len(known) < LONG:
        return np.searchsorted(known, wanted)
    order, place = np.argsort(wanted), np.empty(len(wanted), np.int64)
    place[order] = np.searchsorted(known, wanted[order])
    return place


@dataclass(frozen=True, eq=False)
class StageDecision:
    """The decisions of a plan on some rows, [n] each.

    Attributes:
        stage: number of the stage that decided.
        fate: FATE_OPEN, FATE_KEPT or FATE_PRUNED.
        stratum: index into the thresholds of all stages.
        key: the row's key in the stage that decided.
        chance: probability over seeds that the row is kept; NaN if unknown.
    """

    stage: npt.NDArray[np.int8]
    fate: npt.NDArray[np.int8]
    stratum: IntArray
    key: Float32Array
    chance: npt.NDArray[np.float64]

    @property
    def kept(self) -> Bools:
        """[n] whether a row is kept."""
        kept: Bools = self.fate == FATE_KEPT
        return kept


def walk(stages: Sequence[Stage], rows: Rows, with_chances: bool = False) -> StageDecision:
    """Apply finished stages to some rows, in order; without stages, all rows are open.

    Keep probabilities are computed only if no stage but the last draws at random: the rows that the last stage draws
    from are then the same for every seed.
    """
    n, offset = len(rows), 0
    decision = StageDecision(
        np.full(n, -1, np.int8),
        np.full(n, FATE_OPEN, np.int8),
        np.full(n, -1, np.int64),
        np.zeros(n, np.float32),
        np.full(n, np.nan),
    )
    # After a random step, which rows reach the next step depends on the seed, so its probabilities are conditional.
    with_chances &= all(stage.policy.chance == "sure" for stage in stages[:-1])
    for number, stage in enumerate(stages):
        # Every stage decides only the rows that all stages before it left open.
        at = np.flatnonzero(decision.fate == FATE_OPEN)
        open_rows = rows.take(at)
        places, key = stage.places(open_rows), keys(open_rows, stage.policy, stage.facts)
        taken = stage.takes(open_rows, places, key)
        decision.fate[at], decision.stage[at] = stage.fates(taken), number
        decision.stratum[at], decision.key[at] = stage.entries(places) + offset, key
        if with_chances:
            decision.chance[at] = stage.chances(open_rows, places, taken)
        offset += 1 if stage.by_group else len(stage.cut.groups)
    return decision


def keys(rows: Rows, policy: Policy, known: GlobalStatistics) -> Float32Array:
    """Return the rows' keys, [n] float32; raises SelectionError if one is not a number."""
    key = policy.key(rows, known)
    if np.isnan(key).any():
        raise SelectionError(
            f"{type(policy).__name__} gives {int(np.isnan(key).sum())} rows a key that is not a number",
            "mend the policy's key; every row needs a place in the order",
        )
    return key


def changed() -> SelectionError:
    """Return the error for rows that differ between two passes."""
    return SelectionError(
        "the rows changed between two readings", "give parts that can be read again and do not change meanwhile"
    )
