"""A decision says what was measured, in the objective's unit, and never more than the evidence allows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from raysample.core.errors import StorageError
from raysample.selection.race.candidates import INCUMBENT, portfolio
from raysample.selection.race.decision import Decision, ShareTried, compared_with_all_data
from raysample.selection.race.decision_card import decision_card, weak_probe
from raysample.selection.race.race_result import RaceEntry, RaceResult, RaceSettings

ARM = portfolio()[0]
NOTHING = RaceResult.of_incumbent(RaceSettings(0.5), "no candidate is shown to be better", [])


def decision(race: RaceResult, share: float = 0.5) -> Decision:
    counts = {"in": 1_000, "kept": 495, "removed": 495, "quarantined": 10}
    features = {"source": "ngrams", "pooling": "p", "dimension": 8}
    cost = {"race": {"seconds": 12.0, "cpu_seconds": 20.0}, "files": {"seconds": 1.0, "cpu_seconds": 1.0}}
    return Decision(race, share, 0.5, 0.005, (), counts, 7, 0.9, features, cost, {"corpus": "c"})


def won(objective: str = "accuracy", at_least: float = 0.003, to_all: float = -0.001) -> RaceResult:
    entry = RaceEntry(ARM.name, ARM.to_dict(), "chosen", {objective: (0.0103, 0.0061, 0.0145)}, 0.001)
    return replace(
        NOTHING,
        arm=ARM.to_dict(),
        won=True,
        reason="it is better",
        objective=objective,
        rows=990,
        gain=0.0076,
        gain_error=0.002,
        entries=(entry,),
        at_least=at_least,
        to_all_data=(to_all, 0.001),
    )


def test_a_win_is_told_with_its_interval_and_on_rows_that_did_not_choose() -> None:
    found = decision(won())
    assert found.gain() == (
        "+1.03 points of accuracy over stratified random of the same size (95% interval +0.61 to +1.45); "
        "on rows that did not choose +0.76 ± 0.20"
    )
    assert found.guarantee() == (
        "better than stratified random by at least +0.30 points of accuracy with 95% confidence (n = 990, 1 candidates)"
    )
    assert found.chosen() == "it is better"


def test_a_bound_below_zero_is_told_as_a_possible_loss() -> None:
    assert "not worse than stratified random by more than 0.20 points" in decision(won(at_least=-0.002)).guarantee()


def test_without_a_win_nothing_is_claimed() -> None:
    found = decision(NOTHING)
    assert found.chosen() == "stratified random (no candidate is shown to be better)"
    assert found.gain() == "no evidence of a gain over stratified random sampling"
    assert found.guarantee() == "not worse than stratified random: the selection is stratified random"
    assert found.all_data() == "not compared: there was no race"
    assert found.arm == INCUMBENT


def test_units_are_those_of_the_objective() -> None:
    assert "points of macro-F1" in decision(won("macro_f1")).gain()
    assert decision(won("log_loss")).gain().startswith("+0.010 nats of log-loss")


@pytest.mark.parametrize(
    ("mean", "told"),
    [(-0.001, "as good as all data within 0.50"), (-0.02, "worse than all data"), (-0.0045, "worse than all data")],
)
def test_all_data_are_compared_by_the_tolerance(mean: float, told: str) -> None:
    assert decision(won(to_all=mean)).all_data().startswith(told)


def test_equivalence_needs_evidence() -> None:
    assert compared_with_all_data(0.0, 0.02, 0.005, 0.95) == "undecided"
    assert compared_with_all_data(0.0, 0.003, 0.005, 0.95) == "equivalent"
    assert compared_with_all_data(-0.004, 0.003, 0.005, 0.95) == "undecided"
    assert compared_with_all_data(-0.01, 0.003, 0.005, 0.95) == "worse"


def test_all_rows_are_kept_where_no_share_is_as_good() -> None:
    found = replace(decision(won(), 1.0), keep="auto", shares=(ShareTried(0.7, -0.02, 0.001, "worse"),))
    assert found.chosen() == "all rows: no smaller share is shown to be as good as all data"
    assert found.guarantee() == found.all_data() == "the selection is all data"


def test_the_card_has_ten_lines_with_all_counts() -> None:
    lines = decision_card(decision(won()), "rows.csv", "out")
    assert len(lines) == 10
    card = dict(lines)
    assert card["data"] == "rows.csv: 1,000 rows, 10 in quarantine"
    assert card["kept"] == "495 rows, 50%: out/kept.parquet"
    many = dict(decision_card(replace(decision(won()), suspects=13_592), "rows.csv", "out"))
    assert many["suspects"].startswith("13,592 rows whose label the probe contradicts (10,000 listed): ")
    assert card["judged by"].startswith("a linear probe on word and character n-grams, right on 90% of the labels; ")
    assert card["cost"].startswith("13 s, 21 s of CPU")


def test_a_probe_that_predicts_few_labels_is_told() -> None:
    assert weak_probe(0.7) == ()
    assert "only 46% of the rows" in weak_probe(0.46)[0]


def test_a_decision_is_read_again_as_it_was_and_damage_is_named(tmp_path: Path) -> None:
    for found in (decision(won()), decision(NOTHING)):
        place = tmp_path / "decision.json"
        place.write_text(json.dumps(found.to_dict()))
        assert Decision.load(str(place)) == found
        for broken in ({**found.to_dict(), "race": []}, {**found.to_dict(), "counts": "x"}, {}, []):
            place.write_text(json.dumps(broken))
            with pytest.raises(StorageError, match=r"decision\.json"):
                Decision.load(str(place))
