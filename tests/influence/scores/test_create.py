"""Specs, options and windows: what configurations may say, and what is answered when they are wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysample.core.errors import CheckpointError, ScoreError
from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores import SCORES, CheckpointWindow, create_score, create_scores
from raysample.influence.scores.gradients.grand import Grand
from raysample.influence.scores.gradients.vog import Vog
from raysample.influence.scores.window import EARLY, LAST
from raysample.influence.visits.artifacts import Need
from tests.helpers.every_score import NEEDS_TARGET, made


def run(*epochs: float, steps_per_epoch: int = 7) -> list[Checkpoint]:
    return [Checkpoint(f"step-{e}", round(e * steps_per_epoch), e, 1e-3) for e in epochs]


def test_a_name_is_a_score_at_its_defaults() -> None:
    assert create_score("vog") == ("vog", Vog())
    assert create_score({"name": "vog"}) == ("vog", Vog())


def test_options_and_a_column_name() -> None:
    column, score = create_score(
        {"name": "vog", "objective": "loss", "checkpoints": {"epochs": [0, 2]}, "as": "vog_loss"}
    )
    assert column == "vog_loss"
    assert score == Vog(objective="loss", checkpoints=CheckpointWindow("epochs", (0.0, 2.0)))
    assert score.needs == Need.EMBEDDING_GRADS


def test_several_columns_of_one_score() -> None:
    found = create_scores(["vog", {"name": "vog", "objective": "loss", "as": "vog_loss"}, "el2n"])
    assert list(found) == ["vog", "vog_loss", "el2n"]
    with pytest.raises(ScoreError, match=r"column 'vog'[^$]*as: vog_2"):
        create_scores(["vog", {"name": "vog", "objective": "loss"}])


AT_THE_END = {"loss", "entropy", "margin", "influence", "prototype", "moderate", "knn_label_disagreement"}


@pytest.mark.parametrize("name", SCORES)
def test_options_are_recorded_in_full_and_create_the_same_score(name: str) -> None:
    score = made(name)
    assert create_score({"name": name, **score.options()}) == (name, score)
    recorded = score.options(run(1, 2, 3))
    assert recorded == {**score.options(), "steps": [21] if name in AT_THE_END else [7, 14, 21]}


@pytest.mark.parametrize("name", NEEDS_TARGET)
def test_a_score_that_points_somewhere_must_be_told_where(name: str) -> None:
    for spec in (name, {"name": name, "target": ""}, {"name": name, "target": 3}):
        with pytest.raises(ScoreError, match=rf"{name!r} needs the option 'target'[^$]*score\.targets"):
            create_score(spec)
    with pytest.raises(ScoreError, match="needs the option 'target'"):
        _ = SCORES[name]().references


def test_vog_records_what_its_papers_leave_open() -> None:
    assert Vog().options() == {
        "checkpoints": "all",
        "objective": "logit",
        "variance": "population",
        "site": "embedding_output",
        "tokens": "real",
    }


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("vogg", r"no score called 'vogg'[^$]*did you mean 'vog'\? known: vog, grand"),
        ({"name": "grand", "parameters": "classifier"}, "no option of score 'grand' called 'parameters'"),
        ({"name": "dyn_unc", "window": 1}, "'window' is 1[^$]*give a whole number of 2 or more"),
        ({"name": "tdds", "window": 2}, "give a whole number of 3 or more"),
        ({"name": "dual", "window": 5.0}, "'window' is 5.0[^$]*whole number"),
        ({"name": "dual", "window": True}, "'window' is True[^$]*whole number"),
        ({"name": "prototype", "clusters": -1}, "give a whole number of 0 or more"),
        ({"name": "moderate", "rows": None}, "'rows' is None[^$]*whole number of 1 or more"),
        ({"name": "influence", "target": "a", "damping": -0.1}, "'damping' is -0.1[^$]*give a number of 0 or more"),
        ({"name": "influence", "target": "a", "damping": math.inf}, "give a number of 0 or more"),
        ({"name": "influence", "target": "a", "iterations": 0}, "give a whole number of 1 or more"),
        ({"name": "influence", "target": "a", "solver": "exact"}, "choose 'cg' or 'lissa'"),
        ({"name": "el2n", "checkpoints": {"spread": 0}}, r"does not say which[^$]*\{spread: 3\}"),
        ({"name": "el2n", "checkpoints": {"last": True}}, "whole number of 1 or more"),
        ({"name": "el2n", "checkpoints": {"first": 1, "last": 1}}, "does not say which"),
        ({"name": "el2n", "checkpoints": {"epochs": 3}}, "does not say which"),
        ({"objective": "loss"}, "no score called None"),
        ({"name": "vog", "objektive": "loss"}, r"no option of score 'vog'[^$]*did you mean 'objective'"),
        ({"name": "vog", "objective": "logits"}, r"'objective' is 'logits'[^$]*choose 'logit' or 'loss'"),
        ({"name": "vog", "tokens": "padded"}, "choose 'real'"),
        ({"name": "el2n", "checkpoints": "first"}, r"'first' does not say[^$]*checkpoints: last"),
        ({"name": "el2n", "checkpoints": {"epochs": [3, 1]}}, "low <= high"),
        ({"name": "el2n", "checkpoints": {"epochs": [True, 2]}}, "low <= high"),
        ({"name": "el2n", "checkpoints": {"steps": [1, 2]}}, "does not say which"),
        ({"name": "el2n", "as": "row_id"}, "'row_id' cannot be the name"),
        ({"name": "el2n", "as": "a b"}, "use letters, digits"),
        ({"name": "el2n", "as": 3}, "3 cannot be the name"),
    ],
)
def test_what_is_unknown_is_refused_with_what_is_known(spec: Any, match: str) -> None:
    with pytest.raises(ScoreError, match=match):
        create_score(spec)


def test_options_are_checked_from_python_too() -> None:
    with pytest.raises(ScoreError, match="choose 'population' or 'std'"):
        Vog(variance="sample")  # type: ignore[arg-type]
    with pytest.raises(ScoreError, match="choose 'rules' or 'loop'"):
        Grand(method="fast")  # type: ignore[arg-type]


def test_windows_select_positions() -> None:
    trace = run(0.5, 1, 2, 3, 4)
    assert CheckpointWindow().select(trace) == (0, 1, 2, 3, 4)
    assert LAST.select(trace) == (4,)
    assert LAST.select([]) == ()
    assert EARLY.select(trace) == (1, 2, 3)
    assert CheckpointWindow.parse(EARLY) is EARLY


@pytest.mark.parametrize(
    ("asked", "places"),
    [
        ({"spread": 1}, (9,)),
        ({"spread": 3}, (3, 6, 9)),
        ({"spread": 4}, (2, 4, 7, 9)),
        ({"spread": 10}, tuple(range(10))),
        ({"first": 2}, (0, 1)),
        ({"last": 3}, (7, 8, 9)),
        ({"last": 1}, (9,)),
    ],
)
def test_windows_of_a_number_of_checkpoints(asked: dict[str, int], places: tuple[int, ...]) -> None:
    window = CheckpointWindow.parse(asked)
    assert window.select(run(*range(1, 11))) == places
    assert CheckpointWindow.parse(window.to_config()) == window
    assert create_score({"name": "el2n", "checkpoints": asked})[1].options(run(*range(1, 11)))["steps"] == [
        7 * (place + 1) for place in places
    ]


def test_a_number_of_checkpoints_has_one_way_to_be_written_down() -> None:
    assert CheckpointWindow.parse({"last": 1}) == LAST
    assert (LAST.to_config(), CheckpointWindow().to_config()) == ("last", "all")
    assert CheckpointWindow.parse({"first": 1}).to_config() == {"first": 1}
    assert [str(CheckpointWindow.parse({kind: 2})) for kind in ("spread", "first", "last")] == [
        "spread 2",
        "first 2",
        "last 2",
    ]


@pytest.mark.parametrize("kind", ["spread", "first", "last"])
def test_more_checkpoints_than_there_are_is_an_error(kind: str) -> None:
    with pytest.raises(CheckpointError, match=rf"window {kind} 4 asks for 4 checkpoints, [^$]*run has 3[^$]*ask for"):
        CheckpointWindow.parse({kind: 4}).select(run(1, 2, 3))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.data())
def test_spread_checkpoints_are_distinct_evenly_apart_and_end_at_the_last(there: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, there))
    places = CheckpointWindow("spread", count=n).select(run(*range(1, there + 1)))
    assert len(set(places)) == n
    assert places[-1] == there - 1
    gaps = np.diff([-1, *places])
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("name", ["influence", "prototype", "moderate", "knn_label_disagreement"])
def test_what_is_prepared_for_the_last_checkpoint_is_not_read_at_another(name: str) -> None:
    with pytest.raises(CheckpointError, match=rf"{name!r} is made for the last checkpoint alone[^$]*leave the option"):
        made(name, checkpoints=CheckpointWindow()).select(run(1, 2))


@pytest.mark.parametrize("name", ["tracin_self", "tracin_target"])
@pytest.mark.parametrize("rates", [(0.0, 0.0), (0.1, math.nan), (0.1, -0.1)])
def test_checkpoints_without_learning_rates_weigh_nothing(name: str, rates: tuple[float, ...]) -> None:
    trace = [Checkpoint(f"step-{k}", k + 1, k, rate) for k, rate in enumerate(rates)]
    with pytest.raises(CheckpointError, match=r"weighs checkpoints by their learning rates[^$]*adopted run"):
        made(name).select(trace)


def test_an_epoch_counts_as_reached_within_half_a_step() -> None:
    # 7 steps an epoch: half a step is 0.0714 epochs.
    near = [Checkpoint("a", 7, 0.97, 0.0), Checkpoint("b", 7, 0.92, 0.0), Checkpoint("c", 21, 3.05, 0.0)]
    assert EARLY.select(near) == (0, 2)
    assert CheckpointWindow("epochs", (0.0, 0.0)).select([Checkpoint("start", 0, 0.0, 0.0)]) == (0,)


@pytest.mark.parametrize(
    ("name", "epochs", "match"),
    [
        (
            "el2n",
            (0.2, 0.4),
            r"'el2n' needs 1 or more checkpoints in the window epochs 1 to 3, and the run has 0 there",
        ),
        ("grand", (0.2, 0.4), r"at the epochs 0\.2, 0\.4\)[^$]*widen the option `checkpoints` of 'grand'"),
        ("vog", (1.0,), "'vog' needs 2 or more checkpoints in the window all"),
        ("variability", (1.0,), "fine_tune.checkpoints_per_epoch"),
        ("forgetting", (1.0,), "and the run has 1 there"),
        ("tdds", (1.0, 2.0), "'tdds' needs 3 or more checkpoints"),
        ("dual", (1.0,), "'dual' needs 2 or more checkpoints"),
        ("dyn_unc", (1.0,), "'dyn_unc' needs 2 or more checkpoints"),
    ],
)
def test_too_few_checkpoints_are_an_error_that_says_what_there_is(
    name: str, epochs: tuple[float, ...], match: str
) -> None:
    with pytest.raises(CheckpointError, match=match):
        SCORES[name]().options(run(*epochs))


@pytest.mark.parametrize("name", ["loss", "confidence", "correctness", "aum", "tracin_self", "entropy", "margin"])
def test_one_checkpoint_is_enough_for_these(name: str) -> None:
    assert SCORES[name]().select(run(0.5)) == (0,)
