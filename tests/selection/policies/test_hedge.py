"""`hedge` and `explore` with class budgets: the incumbent at no share, the ranking at all of it, weights between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.selection import choose_rows, select
from raysample.selection.policies import Rows, create_policy, steps_of
from tests.helpers.every_policy import HIGHER_IS, columns, rows

DATA = columns()


def kept(budget: float = 300, seed: int = 0, **given: Any) -> Any:
    return choose_rows([rows(DATA)], create_policy(ArmConfig(**given), HIGHER_IS), budget, seed)[0]


def per_class(mask: Any) -> list[int]:
    return [int(n) for n in np.bincount(DATA["label"][mask], minlength=3)]


value = st.one_of(st.sampled_from([-1.0, 0.0, 2.0]), st.floats(-1e3, 1e3, width=32))
lines = st.lists(st.tuples(st.integers(0, 3), value), min_size=4, max_size=40)


@settings(max_examples=80, deadline=None)
@given(st.data(), lines, st.integers(0, 2**32 - 1), st.floats(0, 1), st.sampled_from(["harder", "easier"]))
def test_no_share_is_the_incumbent_and_all_of_it_the_ranking(
    data: st.DataObject, table: list[Any], seed: int, share: float, keeps: str
) -> None:
    label, values = (np.array(column) for column in zip(*table, strict=True))
    budget = data.draw(st.integers(len({*label.tolist()}), len(table)))
    whole = Rows.from_columns([f"é{i}" for i in range(len(table))], label, {"aum": values})

    def mask(**given: Any) -> Any:
        return choose_rows([whole], create_policy(ArmConfig(**given), HIGHER_IS), budget, seed)[0]

    incumbent = mask(policy="stratified_random")
    ranking = mask(policy="hard" if keeps == "harder" else "easy", score="aum", quota="proportional")
    assert np.array_equal(mask(policy="hedge", score="aum", share=0, keeps=keeps), incumbent)
    assert np.array_equal(mask(policy="hedge", score="aum", share=1, keeps=keeps), ranking)
    between = mask(policy="hedge", score="aum", share=share, keeps=keeps)
    assert np.array_equal(np.bincount(label[between], minlength=4), np.bincount(label[incumbent], minlength=4))
    assert (between & ranking).sum() >= round(share * budget)


def test_the_incumbent_has_the_same_chances_and_reasons() -> None:
    arms: list[dict[str, Any]] = [{"policy": "hedge", "score": "vog", "share": 0}, {"policy": "stratified_random"}]
    ours, theirs = (
        select(lambda: [rows(DATA)], create_policy(ArmConfig(**given), HIGHER_IS), 300, 4) for given in arms
    )
    assert ours.thresholds(("a", "b", "c")) == theirs.thresholds(("a", "b", "c"))
    seen, expected = ours.judge(rows(DATA)), theirs.judge(rows(DATA))
    assert all(np.array_equal(getattr(seen, name), getattr(expected, name)) for name in ("kept", "key", "chance"))


def test_each_class_gives_its_share_of_its_budget_to_the_score() -> None:
    mask = kept(policy="hedge", score="vog", share=0.4)
    assert per_class(mask) == [210, 60, 30]
    for c, first in ((0, 84), (1, 24), (2, 12)):  # 40 % of each budget
        mine = np.flatnonzero(DATA["label"] == c)
        ranking = mine[np.argsort(-DATA["vog"][mine], kind="stable")]
        assert mask[ranking[:first]].all()
        assert 0.05 < mask[ranking[first:]].mean() < 0.4  # a lot of 126 of 616, 36 of 176, 18 of 88


def test_suspects_are_dropped_from_each_class_alike() -> None:
    suspects = {"score": "aum", "share": 0.1, "within": "class"}
    mask = kept(900, policy="hedge", score="vog", share=0, drop_suspects=suspects)
    assert per_class(mask) == [630, 180, 90]
    for c, gone in ((0, 70), (1, 20), (2, 10)):
        mine = np.flatnonzero(DATA["label"] == c)
        worst = np.sort(DATA["aum"][mine])[gone]
        assert (DATA["aum"][mine[~mask[mine]]] <= worst).all()
    arm = ArmConfig(policy="hedge", score="vog", drop_suspects=suspects)
    assert arm.name == "hedge(vog, without 0.1 of each class by aum)"
    steps = steps_of(create_policy(arm, HIGHER_IS))
    assert steps[0].name == "suspects, the hardest 0.1 of each class by aum"


def test_bounds_of_classes_bound_both_steps() -> None:
    for share in (0.2, 0.9):
        mask = kept(policy="hedge", score="vog", share=share, min_per_class=50, max_per_class=180)
        assert per_class(mask) == [
            180,
            70,
            50,
        ]  # the cap first, then 120 rows as 2 : 1, and then the floor


@pytest.mark.parametrize("quota", ["proportional", "balanced"])
def test_explore_with_a_quota_weighs_every_class_to_its_rows(quota: str) -> None:
    arm = ArmConfig.model_validate({"policy": "explore", "score": "vog", "share": 0.5, "quota": quota})
    seen = select(lambda: [rows(DATA)], create_policy(arm, HIGHER_IS), 300, 2).judge(rows(DATA))
    # Of the balanced budgets of 100 the smallest class has no more rows: nothing of it is drawn.
    assert per_class(seen.kept) == ([210, 60, 30] if quota == "proportional" else [100, 100, 100])
    weights = np.bincount(DATA["label"][seen.kept], 1 / seen.chance[seen.kept])
    assert weights.tolist() == pytest.approx([700, 200, 100])  # k sure rows, and n - k over q - k for each of q - k
    assert (seen.chance > 0).all()


def test_explore_with_a_quota_and_no_weights_is_hedge() -> None:
    for share in (0.3, 0.75):
        ours = kept(policy="explore", score="vog", share=share, quota="proportional", weights="none")
        assert np.array_equal(ours, kept(policy="hedge", score="vog", share=share))
        root = kept(policy="explore", score="vog", share=share, power=0.5, weights="none")
        assert np.array_equal(root, kept(policy="hedge", score="vog", share=share, power=0.5))


def test_weights_leave_a_row_of_each_class_to_the_lot() -> None:
    data = columns((400, 90, 10))  # budgets 32, 7 and 1 of 40 rows
    for arm in (
        ArmConfig(policy="explore", score="vog", share=0.95, quota="proportional"),
        ArmConfig(policy="hedge", score="vog", share=1, weights="unbiased"),
    ):
        seen = select(lambda: [rows(data)], create_policy(arm, HIGHER_IS), 40).judge(rows(data))
        assert seen.kept.sum() == 40
        assert (seen.chance > 0).all()
        assert (seen.chance[data["label"] == 2] == 0.1).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"share": -0.1}, "option 'share' is -0.1\n  -> give a number from 0 to 1"),
        ({"share": 1.01}, "option 'share' is 1.01"),
        ({"share": "some"}, "option 'share' is 'some'"),
        ({"keeps": "both"}, "give harder or easier"),
        ({"alpha": 0.5}, "has no option 'alpha'"),
        ({"normalise": "class"}, "no use for normalise: class"),
        ({"score": None}, "goes by a score, and none is named"),
        ({"min_share_per_group": 0.1}, "quota: proportional shares the rows among the classes"),
    ],
)
def test_what_cannot_be_hedged_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        create_policy(ArmConfig(**{"policy": "hedge", "score": "vog", **given}), HIGHER_IS)


@pytest.mark.parametrize("share", [0, -1, 1, 2])
def test_a_share_of_suspects_lies_between_0_and_1(share: float) -> None:
    with pytest.raises(ValueError, match=r"drop_suspects\.share"):
        ArmConfig(policy="tilted", score="vog", drop_suspects={"score": "aum", "share": share})
