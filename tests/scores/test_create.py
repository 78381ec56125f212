"""Specs, options and windows: what configurations may say, and what is answered when they are wrong."""

from __future__ import annotations

from typing import Any

import pytest

from raysample.artifacts import Need
from raysample.checkpoints import Checkpoint
from raysample.errors import CheckpointError, ScoreError
from raysample.scores import SCORES, Window, create, create_all
from raysample.scores.vog import Vog
from raysample.scores.window import EARLY, LAST


def run(*epochs: float, steps_per_epoch: int = 7) -> list[Checkpoint]:
    return [Checkpoint(f"step-{e}", round(e * steps_per_epoch), e, 1e-3) for e in epochs]


def test_a_name_is_a_score_at_its_defaults() -> None:
    assert create("vog") == ("vog", Vog())
    assert create({"name": "vog"}) == ("vog", Vog())


def test_options_and_a_column_name() -> None:
    column, score = create({"name": "vog", "objective": "loss", "checkpoints": {"epochs": [0, 2]}, "as": "vog_loss"})
    assert column == "vog_loss"
    assert score == Vog(objective="loss", checkpoints=Window("epochs", (0.0, 2.0)))
    assert score.needs == Need.EMBEDDING_GRADS


def test_several_columns_of_one_score() -> None:
    found = create_all(["vog", {"name": "vog", "objective": "loss", "as": "vog_loss"}, "el2n"])
    assert list(found) == ["vog", "vog_loss", "el2n"]
    with pytest.raises(ScoreError, match=r"column 'vog'[^$]*as: vog_2"):
        create_all(["vog", {"name": "vog", "objective": "loss"}])


@pytest.mark.parametrize("name", SCORES)
def test_options_are_recorded_in_full_and_create_the_same_score(name: str) -> None:
    score = SCORES[name]()
    assert create({"name": name, **score.options()}) == (name, score)
    recorded = score.options(run(1, 2, 3))
    assert recorded == {**score.options(), "steps": [21] if name == "loss" else [7, 14, 21]}


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
        ("vogg", r"no score called 'vogg'[^$]*did you mean 'vog'\? known: vog, el2n"),
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
        create(spec)


def test_options_are_checked_from_python_too() -> None:
    with pytest.raises(ScoreError, match="choose 'population' or 'std'"):
        Vog(variance="sample")  # type: ignore[arg-type]


def test_windows_select_positions() -> None:
    trace = run(0.5, 1, 2, 3, 4)
    assert Window().select(trace) == (0, 1, 2, 3, 4)
    assert LAST.select(trace) == (4,)
    assert LAST.select([]) == ()
    assert EARLY.select(trace) == (1, 2, 3)
    assert Window.parse(EARLY) is EARLY


def test_an_epoch_counts_as_reached_within_half_a_step() -> None:
    # 7 steps an epoch: half a step is 0.0714 epochs.
    near = [Checkpoint("a", 7, 0.97, 0.0), Checkpoint("b", 7, 0.92, 0.0), Checkpoint("c", 21, 3.05, 0.0)]
    assert EARLY.select(near) == (0, 2)
    assert Window("epochs", (0.0, 0.0)).select([Checkpoint("start", 0, 0.0, 0.0)]) == (0,)


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
    ],
)
def test_too_few_checkpoints_are_an_error_that_says_what_there_is(
    name: str, epochs: tuple[float, ...], match: str
) -> None:
    with pytest.raises(CheckpointError, match=match):
        SCORES[name]().options(run(*epochs))


@pytest.mark.parametrize("name", ["loss", "confidence", "correctness"])
def test_one_checkpoint_is_enough_for_these(name: str) -> None:
    assert SCORES[name]().select(run(0.5)) == (0,)
