"""The race takes stratified random sampling unless a candidate is shown to be better, whoever computes the folds."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.evaluation import holm
from raysample.selection.probe.probe_scores import PROBE_HIGHER_IS
from raysample.selection.race.candidates import INCUMBENT, portfolio, scores_of
from raysample.selection.race.race import run_race
from raysample.selection.race.race_result import RaceResult, RaceSettings
from raysample.selection.race.race_rows import RaceRows

CLEAN = ArmConfig.model_validate(
    {"policy": "stratified_random", "drop_suspects": {"score": "out_of_fold_confidence", "share": 0.25}}
)
HARD = ArmConfig(policy="hard", score="probe_el2n")


def noisy_rows(rows: int = 800, noise: float = 0.4, seed: int = 0) -> RaceRows:
    """Return rows around three centres, a share of whose labels are wrong."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, 3, rows)
    V = np.eye(60)[truth] + draw.normal(size=(rows, 60)) * 0.2
    V /= np.linalg.norm(V, axis=1, keepdims=True)
    labels = np.where(draw.random(rows) < noise, draw.integers(0, 3, rows), truth)
    return RaceRows([f"row {i}" for i in range(rows)], V.astype(np.float16), labels, 3)


def test_dropping_suspects_wins_under_label_noise_and_the_hardest_rows_are_left_out_early() -> None:
    result = run_race(noisy_rows(), RaceSettings(0.2), [CLEAN, HARD])
    assert result.won
    assert result.arm == CLEAN.to_dict()
    chosen, hard = result.entries
    assert chosen.status == "chosen"
    assert chosen.p < 0.05
    assert chosen.differences["accuracy"][1] > 0
    assert hard.status == "left out after 320 rows"
    assert hard.p == 1
    assert result.gain > 0
    assert result.rows == 800
    # What holds for all candidates at once holds for the one that won: less than its own interval promises.
    assert 0 < result.at_least < chosen.differences["accuracy"][0]
    apart = result.values["chosen"] - result.values["incumbent"]
    assert apart == pytest.approx(chosen.differences["accuracy"][0])


def test_all_data_are_a_reference_and_no_candidate() -> None:
    clean = run_race(noisy_rows(noise=0.0), RaceSettings(0.1, "log_loss"), [ArmConfig(policy="class_power", power=1)])
    assert clean.values["all_data"] > clean.values["incumbent"] == clean.values["chosen"]
    mean, error = clean.to_all_data or (0.0, 0.0)
    assert mean == pytest.approx(clean.values["chosen"] - clean.values["all_data"])
    assert mean < -2 * error < 0
    assert clean.at_least == 0


def test_without_evidence_stratified_random_sampling_is_taken() -> None:
    same = ArmConfig(policy="class_power", power=1) if "class_power" in scores_known() else INCUMBENT
    result = run_race(noisy_rows(noise=0.0), RaceSettings(0.5), [same])
    assert not result.won
    assert result.arm == INCUMBENT.to_dict()
    assert "no candidate is shown to be better" in result.reason
    assert (result.gain, result.gain_error) == (0.0, 0.0)
    assert set(result.entries[0].differences) == {"accuracy", "macro_f1", "log_loss"}


def scores_known() -> set[str]:
    """Return the policies of the default portfolio."""
    return {arm.policy for arm in portfolio()}


def test_the_result_does_not_depend_on_the_order_of_the_rows_nor_on_the_workers() -> None:
    rows = noisy_rows(300)
    order = np.random.default_rng(1).permutation(300)
    settings = RaceSettings(0.3, "log_loss", seed=3)

    def elsewhere(function: Callable[[int], Any], folds: Sequence[int]) -> Iterable[Any]:
        shipped = pickle.loads(pickle.dumps(function))
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(shipped, folds))

    here = run_race(rows, settings, [CLEAN, HARD])
    assert run_race(rows.take(order), settings, [CLEAN, HARD]) == here
    assert run_race(rows, settings, [CLEAN, HARD], elsewhere) == here
    assert RaceResult.from_dict(json.loads(json.dumps(here.to_dict()))) == here


def test_a_probe_without_information_does_not_judge() -> None:
    rows = noisy_rows(400)
    blind = replace(rows, vectors=np.random.default_rng(0).normal(size=(400, 60)).astype(np.float16) / 8)
    result = run_race(blind, RaceSettings(0.5), [CLEAN])
    assert not result.won
    assert "no better than the class shares" in result.reason
    assert [each.status for each in result.entries] == ["not run"]


def test_too_few_rows_are_refused_with_the_reason() -> None:
    result = run_race(noisy_rows(150), RaceSettings(0.5), [CLEAN])
    assert not result.won
    assert result.reason.startswith("150 rows are fewer than 200")


def test_a_candidate_that_cannot_be_followed_is_out_and_the_others_race_on() -> None:
    wide = ArmConfig(policy="window", score="probe_el2n", options={"start": 0.5})  # leaves half, 0.7 is asked
    result = run_race(noisy_rows(300), RaceSettings(0.7), [wide, CLEAN])
    assert result.entries[0].status.startswith("refused: ")
    assert result.entries[1].status != "not run"


def test_an_unknown_score_is_an_error_before_any_work() -> None:
    with pytest.raises(SelectionError, match="'vog' is harder or easier"):
        run_race(noisy_rows(300), RaceSettings(0.5), [ArmConfig(policy="hard", score="vog")])


def test_columns_of_a_score_table_race_as_well_and_random_ones_do_not_win() -> None:
    rows = noisy_rows(400, noise=0.1)
    lot = np.random.default_rng(5).random(400).astype(np.float32)
    with_lot = replace(rows, columns={"lot": lot}, higher_is={"lot": "harder"})
    arms = [ArmConfig(policy="hard", score="lot", quota="proportional"), ArmConfig(policy="softmax", score="lot")]
    result = run_race(with_lot, RaceSettings(0.5), arms)
    assert not result.won
    assert [each.name for each in result.entries] == [arm.name for arm in arms]


def test_every_candidate_of_the_portfolio_reads_scores_of_the_probe_alone() -> None:
    arms = portfolio(cut_offs=True)
    assert len({arm.name for arm in arms}) == len(arms) >= 10
    assert scores_of(arms, PROBE_HIGHER_IS) <= set(PROBE_HIGHER_IS)


def test_cut_offs_race_only_where_they_are_asked_for() -> None:
    arms, all_arms = portfolio(), portfolio(cut_offs=True)
    assert {arm.policy for arm in all_arms if arm not in arms} == {"window", "middle", "easy", "hard"}
    assert not {arm.policy for arm in arms} & {"window", "middle", "easy", "hard"}


def test_the_correction_counts_the_candidates_that_were_left_out() -> None:
    # Beside 19 losers a p-value of 0.004 is no evidence, alone it is.
    assert holm(np.array([0.004]))[0] < 0.05 < holm(np.array([0.004, *[1.0] * 19]))[0]
    alone, crowded = (run_race(noisy_rows(600), RaceSettings(0.2), [CLEAN, *[HARD] * losers]) for losers in (0, 3))
    assert alone.entries[0].p < 0.2
    assert crowded.entries[0].p == pytest.approx(min(1.0, 4 * alone.entries[0].p), rel=0.05)


@pytest.mark.parametrize("wrong", [{"share": 1.0}, {"share": 0.5, "objective": "auc"}, {"share": 0.5, "confidence": 5}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SelectionError, match="expected a share"):
        RaceSettings(**wrong)


def test_row_ids_that_repeat_are_refused() -> None:
    rows = noisy_rows(300)
    with pytest.raises(SelectionError, match="row ids that repeat"):
        replace(rows, row_id=["one"] * 300)
    with pytest.raises(SelectionError, match="'labels': 10"):
        replace(rows, labels=rows.labels[:10])
