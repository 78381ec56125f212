"""The engine against its slow twin, and the contract of every policy x quota x normalisation."""

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysample.core.arrays import Float32Array, IntArray
from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.core.numerics.exact_moments import standardise
from raysample.selection import budget_of, choose_rows, plan_with, select
from raysample.selection.policies import GlobalStatistics, Policy, Rows, create_policy
from raysample.selection.policies.base import Grouping
from tests.helpers.selection_oracle import kept_ids

Table = tuple[list[str], IntArray, dict[str, Any]]
HIGHER = {"vog": "harder", "aum": "easier"}
QUOTAS = ("corpus", "proportional", "balanced")
ARMS = [
    ArmConfig(policy=policy, score=score, normalise=normalise, quota=quota)
    for policy in ("random", "stratified_random", "hard", "easy")
    for score in (("vog", "aum") if policy in ("hard", "easy") else (None,))
    for normalise in (("none", "class", "corpus") if score else ("none",))
    for quota in QUOTAS
]
NAMES = [arm.name + (f"/{arm.score}" if arm.score else "") for arm in ARMS]


def corpus(sizes: tuple[int, ...] = (700, 200, 100), seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    n = len(labels)
    scores = {"vog": rng.lognormal(labels, 1.5, n), "aum": np.round(rng.normal(labels, 1, n), 1)}  # aum: many ties
    return [f"row-{i}" for i in range(n)], labels, scores


def rows_of(ids: list[str], labels: Any, scores: dict[str, Any], index: Iterable[int] | None = None) -> Rows:
    index = range(len(ids)) if index is None else index
    take = {name: np.asarray(values)[list(index)] for name, values in scores.items()}
    return Rows.from_columns([ids[i] for i in index], np.asarray(labels)[list(index)], take)


def ids_kept(parts: list[Rows], arm: ArmConfig, budget: float, seed: int = 0) -> set[str]:
    masks = choose_rows(parts, create_policy(arm, HIGHER), budget, seed)
    found = [row for rows, mask in zip(parts, masks, strict=True) for row in np.asarray(rows.row_id)[mask]]
    assert len(found) == len(set(found))
    return set(found)


@pytest.mark.parametrize("arm", ARMS, ids=NAMES)
def test_contract(arm: ArmConfig) -> None:
    ids, labels, scores = corpus()
    whole = [rows_of(ids, labels, scores)]
    kept = ids_kept(whole, arm, 0.37, seed=5)
    assert len(kept) == 370
    assert ids_kept(whole, arm, 370, seed=5) == kept
    order = np.random.default_rng(1).permutation(1000)
    cuts = [order[:1], order[1:1], order[1:400], order[400:]]
    assert ids_kept([rows_of(ids, labels, scores, cut) for cut in cuts], arm, 0.37, seed=5) == kept
    values = None if arm.score is None else [float(x) for x in whole[0].scores[arm.score]]
    twin = kept_ids(arm, arm.score == "vog", ids, whole[0].identity.tolist(), labels.tolist(), values, 370, 5)
    assert kept == twin
    if arm.score is None:
        assert ids_kept(whole, arm, 0.37, seed=6) != kept


@pytest.mark.parametrize("arm", ARMS, ids=NAMES)
def test_per_class_quotas_by_hand(arm: ArmConfig) -> None:
    ids, labels, scores = corpus()
    masks = choose_rows([rows_of(ids, labels, scores)], create_policy(arm, HIGHER), 0.5)
    per_class = np.bincount(labels[masks[0]], minlength=3).tolist()
    if arm.quota == "balanced":
        assert per_class == [200, 200, 100]
    elif arm.quota == "proportional" or arm.policy == "stratified_random":
        assert per_class == [350, 100, 50]
    assert sum(per_class) == 500


value = st.one_of(st.sampled_from([-1.0, -0.0, 0.0, 1.0]), st.floats(width=32, allow_nan=False, allow_infinity=False))
table = st.lists(st.tuples(st.integers(0, 4), value), min_size=1, max_size=40)


@settings(max_examples=150, deadline=None)
@given(st.data(), table, st.sampled_from(ARMS), st.integers(-(2**63), 2**64))
def test_equals_the_slow_twin(data: st.DataObject, pairs: list[Any], arm: ArmConfig, seed: int) -> None:
    budget = data.draw(st.integers(1, len(pairs)))
    at = data.draw(st.integers(0, len(pairs)))
    ids, labels, values = [f"é{i}" for i in range(len(pairs))], [g for g, _ in pairs], [v for _, v in pairs]
    scores = {"vog": values, "aum": values}
    parts = [rows_of(ids, labels, scores, range(at)), rows_of(ids, labels, scores, range(at, len(ids)))]
    identities = [x for rows in parts for x in rows.identity.tolist()]
    twin = kept_ids(arm, arm.score == "vog", ids, identities, labels, values, budget, seed)
    assert ids_kept(parts, arm, budget, seed) == twin


@pytest.mark.parametrize("quota", QUOTAS)
def test_massive_ties_are_broken_by_lot_and_exactly(quota: str) -> None:
    ids, labels, _ = corpus((4000, 900, 100))
    rows = rows_of(ids, labels, {"vog": np.full(5000, 0.25)})
    arm = ArmConfig(policy="hard", score="vog", quota=quota)
    kept = ids_kept([rows], arm, 2500, seed=1)
    assert len(kept) == 2500
    assert kept == ids_kept([rows], ArmConfig(policy="random", quota=quota), 2500, seed=1)
    assert kept != ids_kept([rows], arm, 2500, seed=2)


def test_negative_zero_ties_with_zero() -> None:
    ids = [f"row-{i}" for i in range(200)]
    signed = {"vog": np.where(np.arange(200) % 2 == 0, 0.0, -0.0)}
    plain = {"vog": np.zeros(200)}
    arm = ArmConfig(policy="hard", score="vog")
    found = [ids_kept([rows_of(ids, np.zeros(200), scores)], arm, 100) for scores in (signed, plain)]
    assert found[0] == found[1]


def test_normalising_over_the_corpus_ranks_exactly_as_the_raw_score() -> None:
    # One far outlier: z-scores in float32 would be one single tie below it.
    ids, values = [f"row-{i}" for i in range(100)], np.r_[1e30, np.arange(99) * 1e-6]
    rows = rows_of(ids, np.zeros(100), {"vog": values})
    expected = {"row-0", *ids[51:]}
    assert ids_kept([rows], ArmConfig(policy="hard", score="vog", normalise="corpus"), 0.5) == expected


def test_random_is_uniform_over_rows_and_pairs() -> None:
    n, keep, draws = 40, 12, 800
    parts = [rows_of([f"row-{i}" for i in range(n)], np.zeros(n), {})]
    masks = np.array(
        [choose_rows(parts, create_policy(ArmConfig(policy="random"), {}), keep, seed)[0] for seed in range(draws)]
    )
    p = keep / n
    spread = np.sqrt(p * (1 - p) / draws)
    assert np.abs(masks.mean(0) - p).max() < 4 * spread
    pair = p * (keep - 1) / (n - 1)
    together = (masks.T.astype(float) @ masks / draws)[np.triu_indices(n, 1)]
    assert np.abs(together - pair).max() < 5 * np.sqrt(pair * (1 - pair) / draws)
    # chi² of the rows' counts: n-1 degrees of freedom, corrected for drawing without replacement
    chi2 = ((masks.sum(0) - draws * p) ** 2).sum() / (draws * p * (1 - p)) * (n - 1) / n
    assert abs(chi2 - (n - 1)) < 4 * np.sqrt(2 * (n - 1))


def test_plan_is_picklable_and_runs_with_any_scan() -> None:
    ids, labels, scores = corpus()
    parts = [rows_of(ids, labels, scores, range(i, 1000, 3)) for i in range(3)]
    policy = create_policy(ArmConfig(policy="hard", score="vog", normalise="class"), HIGHER)

    def remote(
        visit: Callable[[Rows], Any],
    ) -> list[Any]:  # as a cluster would: the function and its answers cross a process border, in any order
        assert isinstance(visit, partial)
        return [pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(visit))(rows))) for rows in reversed(parts)]

    plan, here = pickle.loads(pickle.dumps(plan_with(remote, policy, 0.2, 7))), select(lambda: parts, policy, 0.2, 7)
    assert all(np.array_equal(plan.keep(rows), here.keep(rows)) for rows in parts)
    assert plan.thresholds(("a", "b", "c")) == here.thresholds(("a", "b", "c"))
    assert here.rows == 1000
    assert here.class_counts == (700, 200, 100)


def test_thresholds_say_where_each_stratum_was_cut() -> None:
    rows = rows_of(["a", "b", "c", "d"], [0, 0, 0, 1], {"vog": [3, 1, 2, 9]})
    plan = select(lambda: [rows], create_policy(ArmConfig(policy="hard", score="vog", quota="balanced"), HIGHER), 3)
    cut, full = plan.thresholds(("x", "y"))
    assert (cut.name, cut.rows, cut.kept, cut.key, cut.tie) == ("x", 3, 2, 2.0, 0)
    assert (full.name, full.rows, full.kept, full.key, full.tie) == ("y", 1, 1, None, None)


@pytest.mark.parametrize(
    ("rows", "budget", "count"), [(10, 0.5, 5), (7, 0.5, 4), (10, 10, 10), (3, 0.99, 3), (9, 1, 1)]
)
def test_budget_of(rows: int, budget: float, count: int) -> None:
    assert budget_of(rows, budget) == count


@pytest.mark.parametrize(
    ("rows", "budget", "message"),
    [
        (10, 11, "give a count from 1 to 10"),
        (10, 0, "cannot keep 0 of 10 rows"),
        (10, -3, "cannot keep -3"),
        (10, 0.0, "a fraction lies between 0 and 1"),
        (10, 1.0, "such as 0.5"),
        (10, float("nan"), "got nan"),
        (10, True, "got True"),
        (10, 0.04, "less than one row"),
        (0, 0.5, "give a larger fraction, or a count"),
        (0, 1, "cannot keep 1 of 0 rows"),
    ],
)
def test_budgets_that_cannot_be_met(rows: int, budget: float, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        budget_of(rows, budget)


def test_no_rows_at_all() -> None:
    with pytest.raises(SelectionError, match="of 0 rows"):
        select(list, create_policy(ArmConfig(policy="random"), {}), 0.5)


def test_non_finite_scores_are_named_and_counted() -> None:
    rows = rows_of(["a", "b", "c"], [0, 0, 1], {"vog": [np.nan, 1, -np.inf]})
    for normalise in ("none", "class"):
        policy = create_policy(ArmConfig(policy="hard", score="vog", normalise=normalise), HIGHER)
        with pytest.raises(SelectionError, match="'vog': 4 of 6 rows"):
            choose_rows([rows, rows], policy, 1)


def test_negative_labels_are_refused() -> None:
    with pytest.raises(SelectionError, match="1 rows have a negative label"):
        choose_rows([Rows.from_columns(["a", "b"], [0, -1])], create_policy(ArmConfig(policy="random"), {}), 1)


def test_repeated_row_ids_that_the_budget_would_split() -> None:
    rows = Rows.from_columns(["same"] * 4, [0] * 4)
    with pytest.raises(SelectionError, match="give every row its own id"):
        choose_rows([rows], create_policy(ArmConfig(policy="random"), {}), 2)


def test_parts_that_can_be_read_only_once() -> None:
    once = iter([Rows.from_columns(["a", "b"], [0, 0])])
    with pytest.raises(SelectionError, match="give parts that can be read again"):
        select(lambda: once, create_policy(ArmConfig(policy="random"), {}), 1)


def test_parts_that_change_meanwhile() -> None:
    readings = iter(range(100))

    def parts() -> list[Rows]:
        number = next(readings)
        return [Rows.from_columns([f"{number}-{i}" for i in range(1000)], np.zeros(1000))]

    with pytest.raises(SelectionError, match="between two readings"):
        select(parts, create_policy(ArmConfig(policy="random"), {}), 500)


def test_a_row_of_an_unknown_stratum_is_not_judged() -> None:
    plan = select(
        lambda: [Rows.from_columns(["a", "b"], [0, 1])], create_policy(ArmConfig(policy="stratified_random"), {}), 1
    )
    with pytest.raises(SelectionError, match="changed between two readings"):
        plan.keep(Rows.from_columns(["c"], [2]))


class _Toy(Policy):
    """What later policies need of the base: two columns, corpus z-scores, strata of any number, quotas of their own."""

    bad_key = bad_quota = False

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:  # noqa: ARG003
        return cls()

    @property
    def columns(self) -> tuple[str, ...]:
        return ("vog", "aum")

    @property
    def moments_over(self) -> Grouping:
        return "corpus"

    def strata(self, rows: Rows, facts: GlobalStatistics) -> IntArray:
        return np.where(standardise(rows.scores["vog"], np.zeros(len(rows), int), facts.moments["vog"]) > 0, 10**15, -4)

    def key(self, rows: Rows, facts: GlobalStatistics) -> Float32Array:
        group = np.zeros(len(rows), int)
        both = [standardise(rows.scores[name], group, facts.moments[name]) for name in self.columns]
        return np.full(len(rows), np.nan, np.float32) if self.bad_key else (both[0] + both[1]) / np.float32(2)

    def quotas(self, strata: IntArray, counts: IntArray, budget: int) -> IntArray:  # noqa: ARG002
        assert strata.tolist() == [-4, 10**15]
        return np.array([budget + self.bad_quota, 0])

    def stratum_name(self, stratum: int, labels: Sequence[str]) -> str:  # noqa: ARG002
        return "high" if stratum > 0 else "low"


def test_the_base_carries_policies_of_another_kind() -> None:
    ids, labels, scores = corpus()
    rows = rows_of(ids, labels, scores)
    plan = select(lambda: [rows], _Toy(), 30)
    vog, aum = (rows.scores[name].astype(float) for name in ("vog", "aum"))
    np.testing.assert_allclose(plan.stages[0].facts.moments["aum"].mean, [aum.mean()])
    low = np.flatnonzero(vog <= vog.mean())
    mixed = (vog - vog.mean()) / vog.std() + (aum - aum.mean()) / aum.std()
    assert set(np.flatnonzero(plan.keep(rows))) == set(low[np.argsort(-mixed[low])[:30]])
    assert [t.name for t in plan.thresholds(())] == ["low", "high"]
    assert plan.thresholds(())[1].key is None


def test_policies_that_break_their_word_are_named() -> None:
    rows = rows_of(*corpus())
    toy = _Toy()
    toy.bad_quota = True
    with pytest.raises(SelectionError, match="mend the policy's quotas"):
        choose_rows([rows], toy, 30)
    toy.bad_key = True
    with pytest.raises(SelectionError, match="_Toy gives 1000 rows a key that is not a number"):
        choose_rows([rows], toy, 30)


def test_facts_default_to_no_moments() -> None:
    assert GlobalStatistics(1).moments == {}
