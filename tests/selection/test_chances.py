"""What the samplers promise: chances as stated, and weights under which sums over the sample are unbiased."""

from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtri

from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.models import Encoded
from raysample.selection import select, write_selection
from raysample.selection.policies import Rows, create_policy
from raysample.training import Examples, fine_tuning
from tests.helpers.every_policy import HIGHER_IS, VARIANTS, columns, rows
from tests.helpers.selection_tables import score_table

VALUES = np.array([0.0, 0.5, 1.0, 1.5, 2.5, 3.0])


def few(values: Any = VALUES, labels: Any = None) -> Rows:
    labels = np.zeros(len(values)) if labels is None else labels
    return Rows.from_columns([f"r{i}" for i in range(len(values))], labels, {"vog": values})


def repeated(arm: ArmConfig, budget: int, draws: int) -> tuple[Any, Any]:
    """Return [draws, n] as `judged` does, from one selection: each class is a draw of its own of the same values."""
    n = len(VALUES)
    data = Rows.from_columns(
        [f"r{i}" for i in range(n * draws)], np.repeat(np.arange(draws), n), {"vog": np.tile(VALUES, draws)}
    )
    policy = create_policy(arm.model_copy(update={"quota": "proportional"}), HIGHER_IS)
    seen = select(lambda: [data], policy, budget * draws).judge(data)
    return seen.kept.reshape(draws, n), seen.chance.reshape(draws, n)


def judged(arm: ArmConfig, data: Rows, budget: int, seeds: int) -> tuple[Any, Any]:
    """Return [seeds, n] which rows are kept, and their chances."""
    policy = create_policy(arm, HIGHER_IS)
    found = [select(lambda: [data], policy, budget, seed).judge(data) for seed in range(seeds)]
    return np.array([one.kept for one in found]), np.array([one.chance for one in found])


def successive(weights: Any, draws: int) -> Any:
    """Return each row's chance to be among `draws` rows drawn one after the other by weight: all orders, added up."""
    found = np.zeros(len(weights))

    def go(chance: float, taken: tuple[int, ...]) -> None:
        if len(taken) == draws:
            found[list(taken)] += chance
            return
        left = [i for i in range(len(weights)) if i not in taken]
        total = sum(weights[i] for i in left)
        for i in left:
            go(chance * weights[i] / total, (*taken, i))

    go(1.0, ())
    return found


@pytest.mark.parametrize(
    ("arm", "weights"),
    [
        (ArmConfig(policy="softmax", score="vog", temperature=1.5), np.exp(VALUES / 1.5)),
        (ArmConfig(policy="softmax", score="vog", temperature=1.5, keeps="easier"), np.exp(-VALUES / 1.5)),
        (ArmConfig(policy="linear", score="vog", epsilon=0.1), 0.1 + 0.9 * VALUES / 3),
        (ArmConfig(policy="linear", score="vog", epsilon=0.1, keeps="easier"), 1 - 0.9 * VALUES / 3),
        (ArmConfig(policy="tilted", score="vog", strength=1.5), np.exp(1.5 * ndtri((np.arange(6) + 0.5) / 6))),
        (ArmConfig(policy="tilted", score="vog", keeps="easier"), np.exp(-ndtri((np.arange(6) + 0.5) / 6))),
    ],
    ids=lambda given: given.name if isinstance(given, ArmConfig) else "",
)
@pytest.mark.parametrize("budget", [1, 3])
def test_draws_by_weight_have_the_chances_of_drawing_one_after_the_other(
    arm: ArmConfig, weights: Any, budget: int
) -> None:
    draws = 3000
    kept, _ = repeated(arm, budget, draws)
    p = successive(weights, budget)
    assert np.abs(kept.mean(0) - p).max() < 4.5 * np.sqrt(p * (1 - p) / draws).max()


@pytest.mark.parametrize(
    "arm",
    [
        ArmConfig(policy="softmax", score="vog", weights="unbiased"),
        ArmConfig(policy="linear", score="vog", weights="unbiased"),
        ArmConfig(policy="coverage", score="vog", bins=3, drop=0, weights="unbiased"),
        ArmConfig(policy="explore", score="vog", share=0.5),
        ArmConfig(policy="explore", score="vog", share=0.9, quota="proportional"),
        ArmConfig(policy="random", weights="unbiased"),
        ArmConfig(policy="tilted", score="vog", strength=1.5, weights="unbiased"),
        ArmConfig(policy="tilted", score="vog", by="score", keeps="easier", weights="unbiased"),
        ArmConfig(policy="class_power", weights="unbiased"),
        ArmConfig(policy="hedge", score="vog", share=1, weights="unbiased"),
        ArmConfig(policy="thinned", score="vog", threshold=1, weights="unbiased"),
    ],
    ids=lambda arm: arm.name,
)
def test_weights_are_unbiased(arm: ArmConfig) -> None:
    alone = arm.name in ("coverage(vog, bins=3, drop=0, weights=unbiased)", "explore(vog, share=0.5)")  # no classes
    kept, chance = judged(arm, few(), 4, 300) if alone else repeated(arm, 4, 3000)
    assert not np.isnan(chance).any()
    assert (chance[kept] > 0).all()
    each = np.where(kept, 1 / np.where(kept, chance, 1), 0)  # its mean over the seeds is 1 for every row
    error = each.std(0) / np.sqrt(len(each))
    assert (np.abs(each.mean(0) - 1) < 4.5 * error + 1e-9).all()


def test_explore_has_the_weights_of_horvitz_and_thompson_by_enumeration() -> None:
    n, budget = len(VALUES), 4
    plan = select(
        lambda: [few()], create_policy(ArmConfig(policy="explore", score="vog", share=0.5), HIGHER_IS), budget
    )
    seen = plan.judge(few())
    sure = np.flatnonzero(seen.chance == 1)
    assert sure.tolist() == [4, 5]  # half of the budget goes to the two hardest
    rest = [i for i in range(n) if i not in sure]
    weight = 1 / seen.chance[rest]
    assert weight.tolist() == [(n - 2) / (budget - 2)] * 4
    losses = np.arange(1.0, n + 1) ** 2
    means = [losses[sure].sum() + weight[0] * losses[list(drawn)].sum() for drawn in combinations(rest, budget - 2)]
    assert np.mean(means) == pytest.approx(losses.sum())


@pytest.mark.parametrize("name", VARIANTS)
def test_chances_lie_between_nothing_and_certainty_and_no_kept_row_had_none(name: str) -> None:
    data = rows(columns())
    seen = select(lambda: [data], create_policy(VARIANTS[name], HIGHER_IS), 300, 1).judge(data)
    known = ~np.isnan(seen.chance)
    assert ((seen.chance[known] >= 0) & (seen.chance[known] <= 1)).all()
    assert (seen.chance[known & seen.kept] > 0).all()
    if VARIANTS[name].policy in ("random", "stratified_random", "coverage") and known.all():
        assert seen.chance.sum() == pytest.approx(300)


def test_weights_are_written_beside_the_rows(tmp_path: Path) -> None:
    table = score_table(tmp_path / "scores")
    arm = ArmConfig(policy="explore", score="vog", share=0.25)
    frame = write_selection(table, arm, str(tmp_path / "out"), count=400).to_pandas()
    kept = frame[frame["decision"] == "kept"]
    assert sorted(kept["weight"].unique().tolist()) == pytest.approx([1, 777 / 300])
    assert kept["weight"].sum() == pytest.approx(877)
    assert (frame["weight"][frame["decision"] == "pruned"] == 0).all()
    assert sorted(frame["keep_probability"].unique().tolist()) == pytest.approx([300 / 777, 1])
    plain = write_selection(
        table, arm.model_copy(update={"weights": "none"}), str(tmp_path / "plain"), count=400
    ).to_pandas()
    assert set(plain["weight"]) == {0, 1}
    assert plain["decision"].tolist() == frame["decision"].tolist()


def test_training_takes_the_weights_of_a_selection(tmp_path: Path) -> None:
    table = score_table(tmp_path / "scores")
    made = write_selection(
        table, ArmConfig(policy="explore", score="vog", share=0.25), str(tmp_path / "out"), count=400
    )
    ids = np.array([f"id-{i}" for i in np.random.default_rng(0).permutation(877)], object)
    encoded = Encoded([np.array([i]) for i in range(877)], None, np.ones(877, np.int32))
    data = Examples(encoded, np.zeros(877, np.int64), 0, ids)
    corpus: Any = SimpleNamespace(fingerprint="corpus-fp", uri="corpus")
    chosen = fine_tuning.selected_rows(data, corpus, made.uri)
    kept = made.to_pandas().query("decision == 'kept'").set_index("row_id")["weight"]
    assert len(chosen) == 400
    assert chosen.weights is not None
    np.testing.assert_allclose(chosen.weights, kept[chosen.ids].to_numpy() / kept.mean(), rtol=1e-6)
    at_random = write_selection(table, ArmConfig(policy="random"), str(tmp_path / "random"), count=400)
    assert fine_tuning.selected_rows(data, corpus, at_random.uri).weights is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"policy": "hard", "score": "vog"}, "leaves nothing to chance"),
        ({"policy": "random", "min_per_class": 3}, "draws rows in several steps"),
    ],
)
def test_weights_that_cannot_be_unbiased_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        create_policy(ArmConfig(**given, weights="unbiased"), HIGHER_IS)


def test_chances_of_several_draws_are_not_known() -> None:
    data = rows(columns())
    seen = select(lambda: [data], create_policy(ArmConfig(policy="random", min_per_class=60), HIGHER_IS), 300).judge(
        data
    )
    assert np.isnan(seen.chance).all()
