"""What is said before any verdict: models that learnt nothing, and arms that lost a class."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raysample.evaluation import Predictions, doubts, model_doubts

LABELS = ("alarm", "music", "weather")


def predictions(gold: list[int], predicted: list[int]) -> Predictions:
    return Predictions(np.array(gold), np.array(predicted))


def told(gold: list[int], predicted: list[int], loss: float = math.nan) -> list[str]:
    return model_doubts("the model", [predictions(gold, predicted)], loss, LABELS)


@pytest.mark.parametrize("said", [0, 1, 2])
def test_a_constant_predictor_is_named(said: int) -> None:
    found = told([0] * 60 + [1] * 30 + [2] * 10, [said] * 100)
    assert found[0] == f"the model is a constant predictor: it says {LABELS[said]} of every test row"
    assert "no better than the majority class" in found[1]


def test_a_constant_predictor_in_some_seeds_is_named() -> None:
    gold = [0] * 50 + [1] * 50
    runs = [predictions(gold, gold), predictions(gold, [1] * 100), predictions(gold, gold)]
    found = model_doubts("hard(el2n) at 50%", runs, math.nan, LABELS)
    assert found == ["hard(el2n) at 50% is a constant predictor: it says music of every test row in 1 of 3 seeds"]


@pytest.mark.parametrize(
    ("gold", "predicted", "shown"),
    [
        # By lot: right on half of both classes, while the largest one has 60 of 100 rows.
        ([0] * 60 + [1] * 40, [0, 1] * 50, "accuracy 50.0 %, always saying alarm (accuracy 60.0 %)"),
        ([0] * 20 + [2] * 80, [2] * 79 + [0] * 21, "accuracy 59.0 %, always saying weather (accuracy 80.0 %)"),
        # 34 right of 99 rows of three equal classes: one more than by saying one class.
        ([0, 1, 2] * 33, [0] * 96 + [1, 1, 1], "accuracy 33.3 %, always saying alarm (accuracy 33.3 %)"),
    ],
)
def test_a_model_no_better_than_the_majority_class_is_named(gold: list[int], predicted: list[int], shown: str) -> None:
    (found,) = told(gold, predicted)
    assert found == f"the model is no better than the majority class: {shown}"


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [
        ([0, 1, 2] * 40, [0, 1, 2] * 40),
        ([0] * 60 + [1] * 60, [0] * 50 + [1] * 60 + [0] * 10),
        # Accuracy 90 % as the majority has it, but half of the small class is right: mean recall tells.
        ([0] * 900 + [1] * 100, [0] * 850 + [1] * 50 + [1] * 50 + [0] * 50),
    ],
)
def test_a_model_that_learnt_something_is_not_named(gold: list[int], predicted: list[int]) -> None:
    assert told(gold, predicted, 5.0) == []


@pytest.mark.parametrize(
    ("gold", "loss", "word"),
    [
        ([0, 1] * 50, 0.70, "untrained"),  # ln 2 = 0.693
        ([0, 1, 2] * 33, 1.09, "untrained"),  # 0.98 · ln 3 = 1.077
        ([0] * 90 + [1] * 10, 0.33, "untrained"),  # H = 0.9 · 0.105 + 0.1 · 2.303 = 0.325
        ([0, 1] * 50, 0.60, "no better than the majority class"),
        ([0] * 90 + [1] * 10, 0.20, "no better than the majority class"),
        ([0, 1] * 50, math.nan, "no better than the majority class"),
    ],
)
def test_an_untrained_model_is_told_by_its_loss(gold: list[int], loss: float, word: str) -> None:
    half = [0, 0, 1, 1] * (len(gold) // 4) + [0] * (len(gold) % 4)
    half = half if gold[1] else [1] * 10 + [0] * 90
    (found,) = told(gold, half, loss)
    assert f"the model is {word}" in found


def test_a_test_of_one_class_tells_nothing() -> None:
    assert told([1] * 9, [1] * 9) == ["the test has rows of one class alone (music): it cannot tell models apart"]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_an_arm_that_lost_a_class_is_named(lost: int) -> None:
    gold = [0, 1, 2] * 40
    runs = {("full", 1.0, seed): predictions(gold, gold) for seed in (0, 1)}
    runs |= {("random", 0.5, seed): predictions(gold, gold) for seed in (0, 1)}
    without = [(c + 1) % 3 if c == lost else c for c in gold]
    runs |= {("hard(vog)", 0.3, seed): predictions(gold, without) for seed in (0, 1)}
    (found,) = doubts(runs, {}, LABELS)
    assert found.startswith(f"hard(vog) at 30% lost a class ({LABELS[lost]}): right on no test row of it")
    # What all data loses as well is no fault of the arm, nor is what one seed still finds.
    assert doubts({**runs, **{("full", 1.0, s): predictions(gold, without) for s in (0, 1)}}, {}, LABELS) == ()
    assert doubts({**runs, ("hard(vog)", 0.3, 1): predictions(gold, gold)}, {}, LABELS) == ()


def test_a_class_of_few_test_rows_is_not_called_lost() -> None:
    gold = [0, 1] * 40 + [2] * 4
    runs = {("full", 1.0, 0): predictions(gold, gold), ("random", 0.5, 0): predictions(gold, [0, 1] * 40 + [0] * 4)}
    assert doubts(runs, {}, LABELS) == ()


def test_only_the_model_on_all_data_is_called_untrained() -> None:
    gold = [0, 1] * 50
    blind = predictions(gold, [0, 0, 1, 1] * 25)
    runs = {("full", 1.0, 0): blind, ("random", 0.5, 0): blind}
    first, second = doubts(runs, dict.fromkeys(runs, 0.7), LABELS)
    assert first.startswith("the model trained on all data is untrained: its log-loss of 0.700")
    assert second.startswith("random at 50% is no better than the majority class")
