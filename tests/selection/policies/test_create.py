"""Building policies from arms: what is known, what is refused, what importing costs."""

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.core.numerics.exact_moments import exact_sums, moments
from raysample.data.identity import hash_row_ids
from raysample.selection.policies import POLICIES, GlobalStatistics, Rows, create_policy
from tests.helpers.every_policy import ARMS, HIGHER_IS

HIGHER = {"vog": "harder", "aum": "easier"}


def rows() -> Rows:
    return Rows.from_columns(["a", "b", "c", "d"], [0, 0, 1, 1], {"vog": [1, 3, 10, 30], "aum": [1, 2, 3, 4]})


@pytest.mark.parametrize(
    ("policy", "score", "sign"), [("hard", "vog", 1), ("hard", "aum", -1), ("easy", "vog", -1), ("easy", "aum", 1)]
)
def test_hard_and_easy_know_which_end_is_which(policy: str, score: str, sign: int) -> None:
    made = create_policy(ArmConfig(policy=policy, score=score), HIGHER)
    assert made.key(rows(), GlobalStatistics(0)).tolist() == (sign * rows().scores[score]).tolist()


def test_class_normalised_key_is_the_z_score_within_the_class() -> None:
    made = create_policy(ArmConfig(policy="hard", score="vog", normalise="class"), HIGHER)
    assert made.moments_over == "class"
    of = moments(exact_sums(rows().scores["vog"], rows().label, 2))
    assert made.key(rows(), GlobalStatistics(0, {"vog": of})).tolist() == [-1, 1, -1, 1]


@pytest.mark.parametrize("arm", [{"normalise": "corpus"}, {"normalise": "class", "quota": "balanced"}])
def test_z_scores_that_cannot_change_the_ranking_leave_the_raw_key(arm: dict[str, Any]) -> None:
    made = create_policy(ArmConfig(policy="hard", score="vog", **arm), HIGHER)
    assert made.moments_over == "none"
    assert made.key(rows(), GlobalStatistics(0)).tolist() == [1, 3, 10, 30]


def test_random_keys_are_uniform_and_seeded() -> None:
    many = Rows.from_columns([f"r{i}" for i in range(20_000)], np.zeros(20_000))
    key = create_policy(ArmConfig(policy="random"), {}).key(many, GlobalStatistics(3))
    assert key.min() >= 0
    assert key.max() < 1
    assert abs(key.mean() - 0.5) < 5 * (1 / 12 / 20_000) ** 0.5
    assert (
        abs(np.corrcoef(key, create_policy(ArmConfig(policy="random"), {}).key(many, GlobalStatistics(4)))[0, 1])
        < 5 / 20_000**0.5
    )


def test_stratified_random_is_random_with_proportional_quotas() -> None:
    assert create_policy(ArmConfig(policy="stratified_random"), {}).quota == "proportional"
    assert create_policy(ArmConfig(policy="stratified_random", quota="balanced"), {}).quota == "balanced"


def test_unknown_policy_gets_a_suggestion_and_the_list() -> None:
    with pytest.raises(SelectionError, match=r"did you mean 'hard'.*known: auto, random, stratified_random, hard"):
        create_policy(ArmConfig(policy="hrad"), HIGHER)
    with pytest.raises(SelectionError, match="-> known: auto, random"):
        create_policy(ArmConfig(policy="xyz"), HIGHER)


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"policy": "hard"}, "name one, for example policy: hard, score: vog"),
        ({"policy": "easy"}, "goes by a score, and none is named"),
        ({"policy": "hard", "score": "odd"}, "harder or easier; what is known"),
        ({"policy": "random", "score": "vog"}, "leave `score` out"),
        ({"policy": "stratified_random", "score": "vog"}, "has no use for score 'vog'"),
        ({"policy": "random", "normalise": "class"}, "leave `normalise` out"),
    ],
)
def test_settings_that_a_policy_cannot_follow_are_refused(arm: dict[str, Any], message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        create_policy(ArmConfig(**arm), HIGHER)


@pytest.mark.parametrize("name", POLICIES)
def test_policies_pickle_and_compare_equal(name: str) -> None:
    made = create_policy(ARMS[name], HIGHER_IS)
    assert pickle.loads(pickle.dumps(made)) == made
    assert isinstance(made, POLICIES[name])


def test_identity_is_fixed_for_ever() -> None:
    # Pinned: a change would silently change every random sample ever drawn.
    assert hash_row_ids(np.array(["a", "é"], object)).tolist() == [2170400467690493121, 12100586642027069700]


def test_importing_policies_is_light() -> None:
    heavy = "{'ray', 'mlflow', 'transformers', 'torch'}"
    code = f"import raysample.selection.policies, sys; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
