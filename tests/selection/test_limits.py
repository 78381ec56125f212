"""Floors, caps, suspects and steps: what they promise, and what cannot be promised."""

from typing import Any

import numpy as np
import pytest

from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.selection import choose_rows, select, stages
from raysample.selection.policies import Rows, create_policy
from raysample.selection.policies.quotas import balanced, bounded, proportional
from tests.helpers.every_policy import HIGHER_IS, columns, rows

DATA = columns()


def kept(budget: float = 300, **given: Any) -> Any:
    return choose_rows([rows(DATA)], create_policy(ArmConfig(**given), HIGHER_IS), budget)[0]


def per_class(mask: Any) -> list[int]:
    return [int(n) for n in np.bincount(DATA["label"][mask], minlength=3)]


def test_hard_wipes_out_a_class_and_a_floor_prevents_it() -> None:
    plain = per_class(kept(policy="easy", score="vog"))
    assert plain[2] < 10  # the smallest class is the hardest
    floor = per_class(kept(policy="easy", score="vog", min_per_class=40))
    assert floor[2] == 40
    assert sum(floor) == 300


def test_a_floor_keeps_the_best_of_a_class_and_takes_as_little_as_it_can() -> None:
    plain, floor = kept(policy="easy", score="vog"), kept(policy="easy", score="vog", min_per_class=40)
    mine = np.flatnonzero(DATA["label"] == 2)
    best = mine[np.argsort(DATA["vog"][mine])][:40]
    assert set(np.flatnonzero(floor & (DATA["label"] == 2))) == set(best)
    assert (floor & (DATA["label"] == 0) & ~plain).sum() == 0  # the large class gives, and nothing of it comes in


def test_a_class_smaller_than_its_floor_is_kept_whole() -> None:
    assert per_class(kept(500, policy="easy", score="vog", min_per_class=150))[2] == 100


def test_a_cap_holds() -> None:
    assert max(per_class(kept(policy="hard", score="aum", max_per_class=110))) == 110


@pytest.mark.parametrize("quota", ["proportional", "balanced"])
def test_bounds_hold_where_classes_have_budgets_of_their_own(quota: str) -> None:
    counts = per_class(kept(300, policy="hard", score="vog", quota=quota, min_per_class=45, max_per_class=160))
    assert sum(counts) == 300
    assert min(counts) >= 45
    assert max(counts) <= 160


@pytest.mark.parametrize(
    ("share", "counts", "budget", "least", "most", "expected"),
    [
        (proportional, [700, 200, 100], 300, 50, None, [194, 56, 50]),
        (proportional, [700, 200, 100], 300, None, 150, [150, 100, 50]),
        (proportional, [700, 200, 100], 300, 60, 150, [150, 90, 60]),
        (proportional, [900, 80, 20], 100, 15, 70, [70, 15, 15]),
        (balanced, [700, 200, 10], 300, 20, 120, None),
        (balanced, [700, 200, 100], 240, None, None, [80, 80, 80]),
    ],
)
def test_bounded_shares_by_hand(
    share: Any, counts: list[int], budget: int, least: int | None, most: int | None, expected: list[int] | None
) -> None:
    if expected is None:
        with pytest.raises(SelectionError, match="leave 250 rows"):
            bounded(share, np.array(counts), budget, least, most)
        return
    assert bounded(share, np.array(counts), budget, least, most).tolist() == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_per_class": 101}, "keeps 302 rows, and 300 of the budget"),
        ({"max_per_class": 50}, "leaves 150 rows"),
        ({"cap_per_group": 1}, "'at most 1 of a group' leaves"),
        ({"min_share_per_group": 0.9}, "'at least 0.9 of each group' keeps"),
        ({"quota": "balanced", "min_share_per_group": 0.1}, "quota: balanced shares the rows among the classes"),
        ({"min_per_class": 5, "max_per_class": 4}, "min_per_class is 5, max_per_class 4"),
        ({"quota": "proportional", "min_per_class": 120}, "together need 340 rows, the budget is 300"),
        ({"quota": "balanced", "max_per_class": 60}, "together leave 180 rows, the budget is 300"),
    ],
)
def test_limits_that_cannot_be_met(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        kept(policy="hard", score="vog", **given)


def test_dropping_more_than_the_budget_leaves_is_an_error() -> None:
    with pytest.raises(SelectionError, match="leaves 500 rows, the budget needs 800"):
        kept(800, policy="window", score="vog", start=0.5)


def test_suspects_go_first_whatever_the_policy_wants() -> None:
    hardest = np.argsort(DATA["aum"], kind="stable")[:80]  # a low margin is hard
    mask = kept(policy="hard", score="aum", drop_suspects={"score": "aum", "share": 0.1})
    assert not mask[hardest].any()
    seen = select(
        lambda: [rows(DATA)],
        create_policy(ArmConfig(policy="hard", score="vog", drop_suspects={"score": "aum", "share": 0.1}), HIGHER_IS),
        300,
    )
    names = [threshold.step for threshold in seen.thresholds(("a", "b", "c"))]
    assert names == ["suspects, the hardest 0.1 by aum", ""]


def test_a_window_of_no_offset_is_hard_and_a_share_of_nothing_is_random() -> None:
    assert np.array_equal(kept(policy="window", score="vog", start=0), kept(policy="hard", score="vog"))
    assert np.array_equal(kept(policy="explore", score="vog", share=0), kept(policy="random"))


def test_temperatures_lead_from_hard_to_random() -> None:
    hard = kept(policy="hard", score="vog")
    cold = kept(policy="softmax", score="vog", normalise="corpus", temperature=1e-4)
    hot = kept(policy="softmax", score="vog", normalise="corpus", temperature=1e5)
    assert np.array_equal(cold, hard)
    assert abs((hot & hard).sum() / 300 - 0.3) < 0.1


def test_few_rows_kept_turn_beta_to_the_easy_ones() -> None:
    few, many = (DATA["confidence"][kept(budget, policy="beta", score="dual")].mean() for budget in (50, 700))
    assert few > many + 0.05


def test_a_floor_of_every_group_is_rounded_up_and_no_more() -> None:
    mask = kept(400, policy="easy", score="aum", min_share_per_group=0.3)
    for name in {name for name in DATA["group"] if name is not None}:
        mine = DATA["group"] == name
        assert mask[mine].sum() >= -(-3 * int(mine.sum()) // 10)
    halves = {**DATA, "group": np.array(["a", "b"] * 500, object)}
    data = rows(halves)
    plan = select(
        lambda: [data], create_policy(ArmConfig(policy="easy", score="aum", min_share_per_group=0.1), HIGHER_IS), 100
    )
    assert plan.thresholds(("x", "y", "z"))[0].kept == 100  # 0.1 of 500 is 50, not 51


def test_many_groups_are_looked_up_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    few = kept(200, policy="hard", score="aum", cap_per_group=9)
    monkeypatch.setattr(stages, "LONG", 0)
    assert np.array_equal(kept(200, policy="hard", score="aum", cap_per_group=9), few)


def test_rows_without_groups_are_told_so() -> None:
    plain = Rows.from_columns(DATA["row_id"], DATA["label"], {"vog": DATA["vog"]})
    by_group: list[dict[str, Any]] = [
        {"policy": "hard", "score": "vog", "cap_per_group": 2},
        {"policy": "hard", "score": "vog", "min_share_per_group": 0.1},
        {"policy": "mix", "scores": ["vog"], "group_entropy": 1},
    ]
    for given in by_group:
        policy = create_policy(ArmConfig(**given), HIGHER_IS)
        with pytest.raises(SelectionError, match="rows have no groups"):
            choose_rows([plain], policy, 10)


def test_classes_of_many_kinds_of_groups_come_first_by_entropy() -> None:
    label = np.repeat([0, 1, 2], 100)
    groups = np.concatenate([np.repeat("a", 100), np.arange(100) % 2, np.arange(100)]).astype(str)
    data = Rows.from_columns([f"{i}" for i in range(300)], label, {"vog": np.zeros(300)}, groups.tolist())
    mask = choose_rows(
        [data], create_policy(ArmConfig(policy="mix", scores=["vog"], group_entropy=0.1), HIGHER_IS), 150
    )[0]
    assert np.bincount(label[mask], minlength=3).tolist() == [0, 50, 100]


def test_no_spread_is_no_trouble() -> None:
    data = {**DATA, "vog": np.ones(1000, np.float32), "dual": np.full(1000, 0.1, np.float32)}
    for name in ("linear", "softmax", "coverage", "window", "middle", "explore"):
        policy = create_policy(ArmConfig(policy=name, score="vog"), HIGHER_IS)
        assert choose_rows([rows(data)], policy, 300)[0].sum() == 300


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"policy": "hard", "score": "vog", "temperture": 1}, "(?s)has no option 'temperture'.*it has no options"),
        ({"policy": "softmax", "score": "vog", "temperture": 1}, "did you mean 'temperature'"),
        ({"policy": "softmax", "score": "vog", "temperature": 0}, "number from 1e-06"),
        ({"policy": "linear", "score": "vog", "epsilon": "much"}, "'epsilon' is 'much'"),
        ({"policy": "softmax", "score": "vog", "keeps": "both"}, "give harder or easier"),
        ({"policy": "window"}, "goes by a score, and none is named"),
        ({"policy": "mix", "scores": []}, "list them: scores"),
        ({"policy": "mix", "score": "vog"}, "goes by several scores"),
        ({"policy": "mix", "scores": ["vog"], "normalise": "class"}, "compares ranks"),
        ({"policy": "consensus", "scores": {"vog": 0.5}}, "weighs less than 1"),
        ({"policy": "mix", "scores": ["odd"]}, "'odd' is harder or easier"),
        ({"policy": "coverage", "score": "vog", "quota": "balanced"}, "cannot follow quota: balanced"),
        ({"policy": "beta", "score": "dual", "normalise": "class"}, "has no use for normalise"),
        ({"policy": "beta", "score": "dual", "mean": "odd"}, "'odd' is harder or easier"),
        ({"policy": "hard", "score": "vog", "drop_suspects": {"score": "odd"}}, "'odd' is harder or easier"),
    ],
)
def test_what_a_policy_cannot_follow_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        create_policy(ArmConfig(**given), HIGHER_IS)
