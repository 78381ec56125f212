"""`tilted`: the chances of a draw one after the other, the shift that theory foretells, and the limits of strength."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.selection import choose_rows, select
from raysample.selection.policies import Rows, create_policy
from tests.helpers.every_policy import HIGHER_IS, columns, rows

DATA = columns()


def kept(budget: float = 300, seed: int = 0, **given: Any) -> Any:
    return choose_rows([rows(DATA)], create_policy(ArmConfig(**given), HIGHER_IS), budget, seed)[0]


def many(n: int = 50_000) -> Rows:
    return Rows.from_columns([f"r{i}" for i in range(n)], np.zeros(n), {"vog": np.exp(np.linspace(-20, 20, n))})


@pytest.mark.parametrize(("strength", "keeps", "mean"), [(1, "harder", 1), (0.5, "easier", -0.5), (0, "harder", 0)])
def test_strength_shifts_the_normal_scores_of_few_kept_rows_by_itself(strength: float, keeps: str, mean: float) -> None:
    # e^(θu) φ(u) is proportional to φ(u - θ): tilting a standard normal by θ gives a normal of mean θ and deviation 1.
    data, count = many(), 400
    policy = create_policy(ArmConfig(policy="tilted", score="vog", strength=strength, keeps=keeps), HIGHER_IS)
    mask = choose_rows([data], policy, count, seed=3)[0]
    u = special.ndtri((np.arange(len(data)) + 0.5) / len(data))[mask]
    assert abs(u.mean() - mean) < 4.5 / count**0.5
    assert abs(u.std() - 1) < 4.5 / (2 * count) ** 0.5


def test_ranks_are_those_of_the_class_or_of_the_corpus() -> None:
    label = np.repeat([0, 1], 500)
    data = Rows.from_columns([f"r{i}" for i in range(1000)], label, {"vog": np.arange(1000.0)})

    def of(**given: Any) -> list[int]:
        policy = create_policy(ArmConfig(policy="tilted", score="vog", strength=3, **given), HIGHER_IS)
        return [int(n) for n in np.bincount(label[choose_rows([data], policy, 300)[0]], minlength=2)]

    assert of() == [150, 150]
    assert of(quota="balanced") == [150, 150]
    assert of(within="corpus")[0] < 20  # the first class holds the lower half of the ranks


def test_no_strength_is_the_uniform_draw_with_its_chances() -> None:
    for within, uniform in (("class", "stratified_random"), ("corpus", "random")):
        for by in ("rank", "score"):
            arm = ArmConfig(policy="tilted", score="vog", strength=0, within=within, by=by)
            seen, expected = (
                select(lambda: [rows(DATA)], create_policy(one, HIGHER_IS), 300, 7).judge(rows(DATA))
                for one in (arm, ArmConfig(policy=uniform))
            )
            for name in ("kept", "key", "chance", "stratum"):
                assert np.array_equal(getattr(seen, name), getattr(expected, name))


def test_strengths_share_their_random_numbers() -> None:
    none, weak, some = (kept(policy="tilted", score="vog", strength=strength) for strength in (0, 1e-7, 0.2))
    assert np.array_equal(weak, none)
    assert (some & none).sum() > 270  # two independent draws of 300 from 1,000 rows share about 90
    assert (kept(policy="softmax", score="vog", normalise="class", temperature=5) & none).sum() < 130


def test_by_score_the_weights_are_those_of_softmax() -> None:
    tilted = create_policy(ArmConfig(policy="tilted", score="aum", by="score", strength=4), HIGHER_IS)
    softmax = create_policy(ArmConfig(policy="softmax", score="aum", normalise="class", temperature=0.25), HIGHER_IS)
    stages = [select(lambda: [rows(DATA)], one, 300).stages[0] for one in (tilted, softmax)]
    ours, theirs = (stage.policy.log_weight(rows(DATA), stage.facts) for stage in stages)
    assert np.allclose(ours, theirs, rtol=1e-12)


value = st.one_of(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.floats(-1e3, 1e3, width=32))
lines = st.lists(st.tuples(st.integers(0, 3), value), min_size=4, max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.data(), lines, st.integers(0, 2**32 - 1), st.sampled_from(["class", "corpus"]))
def test_both_ends_of_strength_on_anything(data: st.DataObject, table: list[Any], seed: int, within: str) -> None:
    label, values = (np.array(column) for column in zip(*table, strict=True))
    budget = data.draw(st.integers(len({*label.tolist()}), len(table)))
    whole = Rows.from_columns([f"é{i}" for i in range(len(table))], label, {"aum": values})
    quota = "proportional" if within == "class" else "corpus"

    def mask(**given: Any) -> list[bool]:
        return choose_rows([whole], create_policy(ArmConfig(**given), HIGHER_IS), budget, seed)[0].tolist()

    flat = mask(policy="tilted", score="aum", strength=0, within=within)
    assert flat == mask(policy="random", quota=quota)
    for by in ("rank", "score") if np.ptp(values) == 0 else ("rank",):  # z-scores may lie as close as they like
        steep = mask(policy="tilted", score="aum", strength=1e6, within=within, by=by)
        assert steep == mask(policy="hard", score="aum", quota=quota)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strength": -1}, "option 'strength' is -1\n  -> give a number from 0"),
        ({"strength": float("inf")}, "option 'strength' is inf"),
        ({"strength": float("nan")}, "option 'strength' is nan"),
        ({"strength": True}, "option 'strength' is True"),
        ({"by": "loss"}, "'by' is 'loss'\n  -> give rank or score"),
        ({"within": "group"}, "give class or corpus"),
        ({"within": "corpus", "power": 0.5}, "one budget for all rows, got power: 0.5"),
        ({"keeps": "both"}, "give harder or easier"),
        ({"strenght": 1}, "did you mean 'strength'"),
    ],
)
def test_what_cannot_be_tilted_is_refused(given: dict[str, Any], message: str) -> None:
    arm = ArmConfig(policy="tilted", score="vog").model_copy(update={"options": given})
    with pytest.raises(SelectionError, match=message):
        create_policy(arm, HIGHER_IS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "goes by a score, and none is named"),
        ({"score": "odd"}, "'odd' is harder or easier; what is known: {'vog'"),
        ({"score": "vog", "normalise": "class"}, "no use for normalise: class"),
        ({"score": "vog", "within": "corpus", "quota": "balanced"}, "got quota: balanced"),
    ],
)
def test_arms_that_cannot_be_tilted_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        create_policy(ArmConfig(policy="tilted", **given), HIGHER_IS)


def test_rows_without_the_column_say_which_they_have() -> None:
    policy = create_policy(ArmConfig(policy="tilted", score="vog"), HIGHER_IS)
    with pytest.raises(SelectionError, match="no score column 'vog'; they have aum"):
        choose_rows([Rows.from_columns(["a"], [0], {"aum": [1.0]})], policy, 1)
