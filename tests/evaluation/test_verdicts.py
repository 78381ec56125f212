"""Verdicts: better, worse, equivalent, undecided; corrected, by objective, against three baselines; their words."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raysample.core import storage
from raysample.core.errors import ProvenanceError, StorageError
from raysample.evaluation import ArmCell, Predictions, Verdict, evaluate, judge_arms, sentences
from raysample.evaluation.findings import as_good_as_all, better_than_random

ROWS = 2_000
Cells = dict[ArmCell, Predictions]


def run(shares: tuple[float, ...], seed: int = 0, rows: int = ROWS) -> Predictions:
    """Return predictions of rows of as many classes as `shares`, of which nearly the same ones are right."""
    draw = np.random.default_rng(seed)
    gold = np.arange(rows) % len(shares)
    place = np.arange(rows) // len(shares) / (rows / len(shares)) + draw.normal(0, 0.01, rows)
    right = place < np.array(shares)[gold]
    return Predictions(gold, np.where(right, gold, (gold + 1) % len(shares)))


def cells(arms: dict[str, tuple[float, ...]], seeds: int = 3, rows: int = ROWS) -> Cells:
    """Return runs of arms, at a half of the data but `full`."""
    return {
        (arm, 1.0 if arm == "full" else 0.5, seed): run(shares, 97 * place + seed, rows)
        for place, (arm, shares) in enumerate(arms.items())
        for seed in range(seeds)
    }


def one(found: tuple[Verdict, ...], arm: str, baseline: str, objective: str = "accuracy") -> Verdict:
    (only,) = (j for j in found if (j.arm, j.baseline, j.objective) == (arm, baseline, objective))
    return only


ARMS = {
    "full": (0.9, 0.9),
    "random": (0.8, 0.8),
    "stratified_random": (0.8, 0.8),
    "good": (0.9, 0.9),
    "bad": (0.7, 0.7),
}


@pytest.mark.parametrize(
    ("arm", "baseline", "kind"),
    [
        ("good", "random", "better"),
        ("good", "stratified_random", "better"),
        ("bad", "random", "worse"),
        ("bad", "stratified_random", "worse"),
        ("stratified_random", "random", "equivalent"),
        ("good", "full", "equivalent"),
        ("random", "full", "worse"),
    ],
)
def test_three_baselines_and_three_verdicts(arm: str, baseline: str, kind: str) -> None:
    assert one(judge_arms(cells(ARMS), tolerance=0.02), arm, baseline).kind == kind


def test_what_neither_test_settles_is_undecided() -> None:
    found = one(judge_arms(cells(ARMS), tolerance=0.0001), "stratified_random", "random")
    assert (found.kind, found.small) == ("undecided", False)


def test_a_small_difference_can_be_real_and_within_the_tolerance() -> None:
    found = one(judge_arms(cells(ARMS), tolerance=0.3), "good", "random")
    assert (found.kind, found.small) == ("better", True)


@pytest.mark.parametrize(("seeds", "kind", "weak"), [(1, "none", True), (2, "better", True), (3, "better", False)])
def test_two_seeds_are_weak_evidence_and_one_is_none(seeds: int, kind: str, weak: bool) -> None:
    found = one(judge_arms(cells({"random": (0.5, 0.5), "good": (0.99, 0.99)}, seeds)), "good", "random")
    assert (found.kind, found.weak) == (kind, weak)
    assert math.isnan(found.low) == (seeds == 1)


def test_an_arm_that_wins_by_macro_f1_alone_is_seen_by_it() -> None:
    # As assistant traffic is: the small class is a twentieth. All gain there shows in macro-F1 ten times as much.
    draw = np.random.default_rng(0)
    gold = (np.arange(ROWS) % 20 == 0).astype(np.int64)
    chance = draw.random(ROWS)

    def said(small: float, seed: int) -> Predictions:
        right = chance + np.random.default_rng(seed).normal(0, 0.005, ROWS) < np.where(gold == 1, small, 0.99)
        return Predictions(gold, np.where(right, gold, 1 - gold))

    given = {("random", 0.5, seed): said(0.5, seed) for seed in range(3)}
    given |= {("stratified_random", 0.5, seed): said(0.5, 10 + seed) for seed in range(3)}
    given |= {("hard(vog)", 0.5, seed): said(0.95, 20 + seed) for seed in range(3)}
    found = judge_arms(given)
    macro, accuracy = (one(found, "hard(vog)", "random", objective) for objective in ("macro_f1", "accuracy"))
    assert (macro.kind, one(found, "hard(vog)", "random", "worst_group").kind) == ("better", "better")
    assert macro.mean > 5 * accuracy.mean > 0
    first = sentences(found, "macro_f1", 0.005, 0.95)[0]
    assert first.startswith("hard(vog) at 50 % of the data is better than random and stratified random sampling (+")
    assert "points of macro-F1, 95 % interval +" in first


def test_each_family_is_corrected_for_its_arms() -> None:
    few, many = (judge_arms(cells({**ARMS, **dict.fromkeys(more, (0.8, 0.8))})) for more in ((), "abcdef"))
    assert one(few, "good", "random").tests == 5  # good, bad against both, stratified against random
    assert one(many, "good", "random").tests == 5 + 2 * 6
    assert one(few, "good", "full").tests == 4
    assert one(many, "good", "random").detectable > one(few, "good", "random").detectable


@pytest.mark.parametrize("objective", ["accuracy", "macro_f1", "worst_group"])
def test_as_good_as_all_data_and_better_than_random_are_two_findings(objective: str) -> None:
    found = judge_arms(cells({**ARMS, "between": (0.85, 0.85)}), tolerance=0.04)
    assert {j.arm for j in better_than_random(found, objective)} == {"good", "between"}
    assert {j.arm for j in as_good_as_all(found, objective)} == {"good"}
    worse = judge_arms(cells({**ARMS, "full": (0.7, 0.7), "good": (0.8, 0.8)}), tolerance=0.04)
    assert better_than_random(worse, objective) == []
    assert {"good", "random", "bad"} <= {j.arm for j in as_good_as_all(worse, objective)}


def test_better_than_random_alone_is_not_enough() -> None:
    found = judge_arms(
        cells({"random": (0.7, 0.7), "stratified_random": (0.8, 0.8), "good": (0.8, 0.8)}), tolerance=0.02
    )
    assert one(found, "good", "random").kind == "better"
    assert [j.arm for j in better_than_random(found, "accuracy")] == ["stratified_random"]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_equal_arms_are_rarely_better_by_any_objective(seeds: int) -> None:
    draw = np.random.default_rng(seeds)
    false = {"accuracy": 0, "macro_f1": 0, "worst_group": 0}
    for _ in range(40):
        gold = draw.integers(0, 4, 200)
        ease = draw.normal(1.5, 1.2, 200)
        given: Cells = {}
        for arm in ("random", "stratified_random", "one", "other"):
            for seed in range(seeds):
                right = ease + draw.normal(0, 0.2) + draw.normal(size=200) > 0
                given[arm, 0.5, seed] = Predictions(gold, np.where(right, gold, (gold + 1) % 4))
        found = judge_arms(given)
        assert all(j.high > j.low for j in found)
        for objective in false:
            false[objective] += any(j.kind == "better" for j in found if j.objective == objective)
    # At a rate of 5 %, more than 8 of 40 come once in ten thousand.
    assert max(false.values()) <= 8


@pytest.mark.parametrize(("seeds", "weak"), [(2, True), (3, False), (5, False)])
def test_two_seeds_are_called_weak_in_every_sentence_that_claims(seeds: int, weak: bool) -> None:
    found = judge_arms(cells({"full": (0.99, 0.99), "random": (0.3, 0.3), "good": (0.99, 0.99)}, seeds), tolerance=0.2)
    better, as_good, macro, *_ = sentences(found, "accuracy", 0.2, 0.95)
    assert better.removeprefix("Weak evidence: ").startswith("good at 50 % of the data is better than random sampling")
    assert as_good.removeprefix("Weak evidence: ").startswith("good at 50 % of the data is as good as all data, within")
    assert [better.startswith("Weak"), as_good.startswith("Weak"), "weak evidence" in macro] == [weak] * 3
    assert ("Two seeds say little" in sentences(found, "accuracy", 0.2, 0.95)[-1]) == weak


@pytest.mark.parametrize(
    ("detectable", "words"),
    [
        (0.0149, "differences below 1.5 points of accuracy cannot be seen"),
        (0.0034, "differences below 0.34 points of accuracy cannot be seen"),
        (0.342, "differences below 34 points of accuracy cannot be seen"),
        (1.2, "no difference of accuracy can be seen"),
    ],
)
def test_what_could_not_be_seen_is_said(detectable: float, words: str) -> None:
    found = judge_arms(cells({"random": (0.5, 0.5), "stratified_random": (0.5, 0.5), "one": (0.5, 0.5)}))
    assert all(-1 <= j.low < j.high <= 1 and j.detectable > (j.high - j.low) / 2 for j in found)
    said = sentences([replace(one, detectable=detectable) for one in found], "accuracy", 0.005, 0.95)[-1]
    corrected = "verdicts are corrected by Holm for 3 comparisons of 2 arms."
    assert said == f"With 3 seeds and 2,000 test rows, {words}; {corrected}"


def test_rare_rows_are_judged_by_the_same_rules() -> None:
    given = cells(ARMS)
    rare = {
        cell: replace(p, masks={"rare_class": p.gold == 1, "repeated_content": p.gold == 0})
        for cell, p in given.items()
    }
    found = judge_arms(rare)
    assert one(found, "good", "random", "rare_class").kind == "better"
    assert not [j for j in found if j.objective == "repeated_content"]
    earlier = {**rare, ("good", 0.5, 0): given["good", 0.5, 0]}
    assert one(judge_arms(earlier), "good", "random", "rare_class").pairs == 2


def test_judgements_survive_json() -> None:
    for found in judge_arms(cells(ARMS, seeds=1)) + judge_arms(cells(ARMS, seeds=2)):
        data = {name: None if value != value else value for name, value in asdict(found).items()}
        assert repr(Verdict.from_dict(json.loads(json.dumps(data, allow_nan=False)))) == repr(found)


def test_other_test_rows_are_refused() -> None:
    given = {**cells(ARMS), ("bad", 0.5, 2): run((0.5, 0.5, 0.5))}
    with pytest.raises(ProvenanceError, match="delete the folder `arms`"):
        judge_arms(given)


def test_predictions_survive_storage_and_damage_is_named(tmp_path: Path) -> None:
    whole = Predictions(
        np.array([0, 1, 2]),
        np.array([2, 1, 0]),
        np.array([0, -1, 1]),
        np.array([0, 1, 0]),
        {"m": np.array([True, False, True])},
    )
    uri = str(tmp_path / "predictions.parquet")
    storage.write_parquet(uri, whole.table())
    table = storage.read_parquet(uri)
    assert table.column_names == ["row", "gold", "predicted", "group", "cluster", "in_m"]
    found = Predictions.from_table(table)
    assert repr(found) == repr(whole)
    assert found.same_rows(whole)
    for broken in (table.drop_columns(["gold"]), table.slice(1), table.take(pa.array([0, 2, 1]))):
        with pytest.raises(StorageError, match="delete it and run the comparison again"):
            Predictions.from_table(broken)


def test_copies_stand_for_themselves_unless_clusters_are_given() -> None:
    logits, labels = 5.0 * np.eye(2)[[0, 0, 0, 1]], np.array([0, 0, 1, 1])
    free = evaluate(logits, labels, ["a", "a", "a", "b"], replicates=0).predictions
    tied = evaluate(logits, labels, clusters=np.array(["x", "x", "y", "z"]), replicates=0).predictions
    assert free is not None
    assert free.cluster is None
    assert tied is not None
    assert tied.cluster is not None
    assert tied.cluster.tolist() == [0, 0, 1, 2]
