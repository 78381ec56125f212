"""Bootstrap intervals: against explicit resampling, their coverage, what is rare, groups, to JSON and back."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from raysample.core.errors import TrainingError
from raysample.evaluation import Evaluation, evaluate, rare_classes, rare_contents, tracked
from raysample.evaluation.metrics import _tested
from raysample.evaluation.resampling import percentile, reflected, replicated, resample_counts, wilson
from raysample.evaluation.totals import cells

CLASSES = 4


def case(rows: int = 60, seed: int = 0, skill: float = 1.5) -> dict[str, Any]:
    """Rows of four classes, the last two rare in training, with groups (some without) and contents, some seen once."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(CLASSES, rows, p=[0.5, 0.3, 0.15, 0.05])
    logits = rng.normal(size=(rows, CLASSES)) + skill * np.eye(CLASSES)[labels]
    groups = np.array(["kitchen", "hall", None], dtype=object)[rng.integers(0, 3, rows)]
    counts = rng.integers(1, 4, rows)
    return {
        "logits": logits,
        "labels": labels,
        "groups": groups,
        "counts": counts,
        "train_counts": (900, 900, 80, 40),
        "new_texts": np.arange(rows) % 3 > 0,
    }


def taken(given: dict[str, Any], rows: Any) -> dict[str, Any]:
    return {name: value if name == "train_counts" else value[rows] for name, value in given.items()}


@pytest.mark.parametrize("clustered", [False, True])
def test_replicates_are_what_explicit_resampling_gives(clustered: bool) -> None:
    """The slow twin takes the drawn rows one by one and evaluates them as a test of their own."""
    given = case()
    units = np.random.default_rng(1).integers(0, 12, 60) if clustered else None
    units = None if units is None else np.unique(units, return_inverse=True)[1]
    tested, names, _ = _tested(*given.values())
    found = replicated(cells(tested), tested, units, 25, seed=3)
    weights = np.concatenate(list(resample_counts(60, units, 25, 3, 1 << 20)), axis=1).astype(int)
    for i in range(25):
        rows = np.repeat(np.arange(60), weights[:, i])
        slow = evaluate(**taken(given, rows), replicates=0)
        assert set(slow.metrics) <= set(found.metrics)
        for name, values in found.metrics.items():
            assert slow.metrics.get(name, math.nan) == pytest.approx(values[i], nan_ok=True, abs=1e-12), name
        assert slow.recall == pytest.approx(found.recall[:, i], nan_ok=True)
        by_name = {group.name: group.recall for group in slow.groups}
        assert [by_name.get(name, math.nan) for name in names] == pytest.approx(found.group_recall[:, i], nan_ok=True)
    assert (weights.sum(axis=0) == 60).all() != clustered


def test_draws_do_not_depend_on_how_many_are_in_memory_and_clusters_stay_whole() -> None:
    one = np.concatenate(list(resample_counts(10, None, 7, 5, 10)), axis=1)
    all_at_once = np.concatenate(list(resample_counts(10, None, 7, 5, 10_000)), axis=1)
    assert (one == all_at_once).all()
    assert one.shape == (10, 7)
    assert len({tuple(column) for column in one.T}) > 1
    units = np.array([0, 1, 1, 2, 2, 2])
    (block,) = resample_counts(6, units, 9, 0, 10_000)
    assert (block[1] == block[2]).all()
    assert (block[3] == block[5]).all()
    assert (block[[0, 1, 3]].sum(axis=0) == 3).all()


def test_each_row_is_drawn_once_on_average() -> None:
    weights = np.concatenate(list(resample_counts(50, None, 4_000, 0, 1 << 20)), axis=1)
    # A row's count is binomial(50, 1/50): mean 1, variance 0.98; the mean of 4,000 has a deviation of 0.016.
    assert np.abs(weights.mean(axis=1) - 1).max() < 0.07
    assert weights.var() == pytest.approx(0.98, abs=0.03)


def test_percentiles_are_those_of_what_is_not_nan() -> None:
    values = np.random.default_rng(0).normal(size=(5, 200))
    values[1, :150] = np.nan
    values[2, :] = np.nan
    values[3, 1:] = np.nan
    low, high = percentile(values, 0.9)
    for i in (0, 1, 3, 4):
        assert (low[i], high[i]) == pytest.approx(tuple(np.nanquantile(values[i], [0.05, 0.95])))
    assert np.isnan(low[2])
    assert np.isnan(high[2])


@pytest.mark.parametrize("rows", [40, 200])
def test_intervals_hold_the_truth_about_as_often_as_they_say(rows: int) -> None:
    """100 tests drawn from a population whose figures are known: the deviation of a coverage is 2.2 points."""
    whole = case(50_000, seed=1)
    truth = evaluate(**whole, replicates=0).metrics
    rng, trials = np.random.default_rng(2), 100
    inside = dict.fromkeys(("accuracy", "macro_f1", "nll", "group_recall", "rare_content_accuracy"), 0)
    for _ in range(trials):
        found = evaluate(**taken(whole, rng.integers(0, 50_000, rows)), replicates=150)
        for name in inside:
            low, high = found.intervals[name]
            inside[name] += low <= truth[name] <= high
    for name, hits in inside.items():
        # Percentile intervals are a little too narrow on few rows, most of all where a class has only a handful.
        least = 0.75 if (name, rows) == ("macro_f1", 40) else 0.87
        assert least < hits / trials < 1, (name, hits)


def test_the_calibration_error_s_interval_is_reflected() -> None:
    """Over-confident by 0.2 or so: the plain estimate is too large, and the percentile interval doubles that."""
    whole = case(50_000, seed=4)
    whole["logits"] = 2.5 * whole["logits"]
    truth = evaluate(**whole, replicates=0).metrics["calibration_error"]
    rng, inside, above = np.random.default_rng(5), 0, 0
    for _ in range(80):
        found = evaluate(**taken(whole, rng.integers(0, 50_000, 150)), replicates=150)
        low, high = found.intervals["calibration_error"]
        inside += low <= truth <= high
        above += found.metrics["calibration_error"] > truth
    assert inside / 80 > 0.85
    assert above / 80 > 0.6
    assert reflected(0.01, np.array([0.02, 0.03, 0.04]), 0.95) == (0.0, 0.0)


def test_traffic_that_repeats_is_drawn_by_rows_and_copies_by_clusters() -> None:
    """What is right depends on why rows repeat.

    Of contents with popularity 1/k a test draws rows: repeats are part of the sample, and rows are what to draw again.
    Where instead every content was copied eight times, rows give intervals that are far too narrow.
    """
    rng = np.random.default_rng(7)
    popular = 1 / np.arange(1, 401)
    popular /= popular.sum()
    right = rng.random(400) < 0.7
    truth = float(popular @ right)
    inside = {"traffic by rows": 0, "copies by rows": 0, "copies by clusters": 0}
    widths: dict[str, list[float]] = {"rows": [], "clusters": []}

    def interval(contents: Any, clusters: Any = None) -> tuple[float, float]:
        logits = np.where(right[contents][:, None], [[2.0, 0.0]], [[0.0, 2.0]])
        labels = np.zeros(len(contents), int)
        return evaluate(logits, labels, clusters=clusters, replicates=100).intervals["accuracy"]

    for _ in range(60):
        traffic = rng.choice(400, 200, p=popular)
        low, high = interval(traffic)
        inside["traffic by rows"] += low <= truth <= high
        widths["rows"].append(high - low)
        low, high = interval(traffic, traffic)
        widths["clusters"].append(high - low)
        copies = np.repeat(rng.integers(0, 400, 50), 8)
        for name, clusters in (("copies by rows", None), ("copies by clusters", np.repeat(np.arange(50), 8))):
            low, high = interval(copies, clusters)
            inside[name] += low <= right.mean() <= high
    assert inside["traffic by rows"] / 60 > 0.88
    assert np.mean(widths["clusters"]) > 1.5 * np.mean(widths["rows"])
    assert inside["copies by rows"] / 60 < 0.7
    assert inside["copies by clusters"] / 60 > 0.88


def test_a_class_that_is_all_right_gets_wilson_s_interval() -> None:
    # With p = 1 Wilson's lower end is n / (n + z²): 3 / (3 + 3.8415).
    assert wilson(1.0, 3, 0.95) == pytest.approx((0.43850, 1.0), abs=1e-5)
    assert wilson(0.0, 3, 0.95) == pytest.approx((0.0, 0.56150), abs=1e-5)
    found = evaluate(5.0 * np.eye(2)[[0, 0, 0, 1]], np.array([0, 0, 0, 0]))
    assert found.recall[0] == 0.75
    assert found.recall_bounds[0][0] < 0.75
    assert all(math.isnan(value) for value in found.recall_bounds[1])
    perfect = evaluate(5.0 * np.eye(2)[[0, 0, 0, 1]], np.array([0, 0, 0, 1]))
    assert perfect.recall_bounds[0] == pytest.approx((0.43850, 1.0), abs=1e-5)
    assert perfect.intervals["accuracy"][0] == pytest.approx(4 / (4 + 3.841459), abs=1e-5)
    # Three copies of one content say no more than one row.
    copies = evaluate(5.0 * np.eye(2)[[0, 0, 0, 1]], np.array([0, 0, 0, 1]), clusters=np.array([0, 0, 0, 1]))
    assert copies.recall_bounds[0] == pytest.approx((1 / (1 + 3.841459), 1.0), abs=1e-5)


def test_the_same_seed_gives_the_same_intervals_and_no_replicates_none() -> None:
    given = case()
    one, other, none = evaluate(**given), evaluate(**given), evaluate(**given, replicates=0)
    assert one == other
    assert one.intervals != evaluate(**given, seed=1).intervals
    assert one.metrics == none.metrics
    assert none.intervals == {}
    assert none.recall_bounds == ()
    worst = {"worst_class_recall", "worst_group_recall", "new_text_worst_class_recall"}
    assert set(one.metrics) - set(one.intervals) == worst
    wide, narrow = evaluate(**given, confidence=0.99), evaluate(**given, confidence=0.5)
    assert wide.intervals["accuracy"][0] < narrow.intervals["accuracy"][0]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((45, 45, 10), [False, False, True]),
        ((45, 44, 11), [False, False, False]),
        ((33, 33, 34), [False, False, False]),
        ((100,) * 150, [False] * 150),
        # The two smallest hold 10 % together; of classes of one size it is all or none.
        ((450, 450, 50, 50), [False, False, True, True]),
        ((400, 400, 67, 67, 66), [False, False, False, False, True]),
        ((450, 430, 40, 40, 40), [False, False, False, False, False]),
        # Under a tenth together, but not small beside the others: 12 classes of 80 to 91 rows.
        (tuple(range(80, 92)), [False] * 12),
        ((90, 10, 0), [False, True, True]),
        ((0, 0), [False, False]),
    ],
)
def test_rare_classes(counts: tuple[int, ...], expected: list[bool]) -> None:
    assert rare_classes(np.array(counts)).tolist() == expected


def test_rare_contents_are_those_seen_once_where_others_were_seen_again() -> None:
    found = rare_contents(np.array([1, 3, 1, 2]))
    assert found is not None
    assert found.tolist() == [True, False, True, False]
    assert rare_contents(np.array([1, 1])) is None
    assert rare_contents(np.array([2, 2])) is None


def test_tail_metrics_are_accuracies_and_recalls_of_rare_rows() -> None:
    # Classes 2 and 3 are rare: 2 of 3 and 0 of 1 of their rows are right, of the contents seen once 3 of 4.
    labels, predicted = np.array([0, 0, 1, 2, 2, 2, 3]), [0, 1, 1, 2, 2, 0, 1]
    found = evaluate(np.eye(4)[predicted], labels, counts=[1, 9, 1, 1, 2, 1, 2], train_counts=(500, 400, 50, 40))
    assert found.metrics["rare_class_accuracy"] == 2 / 4
    assert found.metrics["rare_class_recall"] == pytest.approx((2 / 3 + 0) / 2)
    assert found.metrics["rare_content_accuracy"] == 3 / 4
    assert found.metrics["repeated_content_accuracy"] == 1 / 3
    assert found.rare == (2, 3)
    assert found.counts == {"rows": 7, "groups": 0, "rare_classes": 2, "rare_class_rows": 4, "rare_content_rows": 4}
    assert found.class_rows == (2, 1, 3, 1)
    plain = evaluate(np.eye(4)[predicted], labels, counts=np.ones(7, int), train_counts=(100, 100, 100, 100))
    assert set(plain.metrics) == {"accuracy", "macro_f1", "nll", "calibration_error", "worst_class_recall"}
    # A rare class without a test row has no recall, and there is nothing to say of the tail.
    away = evaluate(np.eye(3)[[0, 1]], np.array([0, 1]), train_counts=(50, 49, 1))
    assert away.rare == (2,)
    assert "rare_class_recall" not in away.metrics
    assert "rare_class_accuracy" not in away.metrics


def test_recall_by_group() -> None:
    labels, predicted = np.array([0, 0, 0, 1, 1]), [0, 1, 0, 1, 0]
    found = evaluate(np.eye(2)[predicted], labels, groups=["b", "b", None, "a", "b"])
    assert [(group.name, group.rows, group.recall) for group in found.groups] == [("a", 1, 1.0), ("b", 3, 1 / 3)]
    assert found.metrics["group_recall"] == pytest.approx(2 / 3)
    assert found.metrics["worst_group_recall"] == pytest.approx(1 / 3)
    low, high = found.groups[1].bounds
    assert 0 <= low < 1 / 3 < high <= 1
    many = evaluate(np.zeros((1_001, 2)), np.zeros(1_001, int), groups=[str(i) for i in range(1_001)], replicates=1)
    assert many.groups == ()
    assert many.counts["groups"] == 1_001
    assert "group_recall" not in many.metrics


def test_an_evaluation_survives_json() -> None:
    given = case()
    given["labels"] = np.where(given["labels"] == 3, 2, given["labels"])
    found = evaluate(**given)
    assert math.isnan(found.recall[3])
    again = Evaluation.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert again.recall[:3] == found.recall[:3]
    assert math.isnan(again.recall[3])
    assert math.isnan(again.recall_bounds[3][0])
    assert again.to_dict() == found.to_dict()
    with pytest.raises(KeyError, match="intervals"):
        Evaluation.from_dict({"metrics": {"accuracy": 0.5}, "recall": [0.5, None]})


def test_words_and_the_names_in_mlflow() -> None:
    found = Evaluation({"accuracy": 0.81234, "nll": 0.5}, (), {"accuracy": (0.7912, 0.83)})
    assert found.describe("accuracy") == "0.8123 [0.791, 0.830]"
    assert tracked(found.metrics, found.intervals) == {
        "test_acc": 0.81234,
        "test_nll": 0.5,
        "test_acc_low": 0.7912,
        "test_acc_high": 0.83,
    }


def test_logits_that_are_not_finite_are_an_error() -> None:
    logits = np.zeros((3, 2))
    logits[1, 0] = np.nan
    with pytest.raises(TrainingError, match=r"not finite on 1 of 3 test rows(.|\n)*lower fine_tune.learning_rate"):
        evaluate(logits, np.zeros(3, int))
