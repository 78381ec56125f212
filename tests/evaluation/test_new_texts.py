"""New texts: their metrics are those of their rows alone, and they are the headline where there are enough of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from raysample.cli.conclusion import conclude
from raysample.core.progress import SilentReporter
from raysample.evaluation import ArmCell, Predictions, evaluate, judge_arms
from raysample.evaluation.arm_summary import RunResult, summarise
from raysample.evaluation.comparison import Comparison
from raysample.evaluation.new_texts import MIN_NEW_ROWS, few_new_texts, find_new_texts
from raysample.evaluation.rarity import NEW_TEXT

ROWS, NEW = 400, 120


def logits_of(rows: int = 200, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return logits, labels and which rows are new."""
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=rows)
    return rng.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels], labels, rng.random(rows) < 0.3


def test_metrics_on_new_texts_are_those_of_their_rows_alone() -> None:
    logits, labels, new = logits_of()
    both, alone = evaluate(logits, labels, new_texts=new), evaluate(logits[new], labels[new])
    for name in ("accuracy", "macro_f1", "worst_class_recall"):
        assert both.metrics[f"new_text_{name}"] == pytest.approx(alone.metrics[name])
    assert both.metrics["accuracy"] == evaluate(logits, labels).metrics["accuracy"] != alone.metrics["accuracy"]
    assert both.counts["new_text_rows"] == new.sum()
    for name in ("accuracy", "macro_f1"):
        low, high = both.intervals[f"new_text_{name}"]
        assert low < both.metrics[f"new_text_{name}"] < high
        # The interval of fewer rows is wider.
        assert high - low > np.diff(both.intervals[name]).item()
    assert "new_text_worst_class_recall" not in both.intervals


@pytest.mark.parametrize("new", [True, False])
def test_rows_that_are_all_new_or_none_are_counted_and_not_told_apart(new: bool) -> None:
    logits, labels, _ = logits_of()
    found = evaluate(logits, labels, new_texts=np.full(len(labels), new))
    assert found.counts["new_text_rows"] == (len(labels) if new else 0)
    assert not [name for name in found.metrics if name.startswith("new_text")]
    assert "new_text_rows" not in evaluate(logits, labels).counts


def test_predictions_of_some_rows() -> None:
    gold, cluster = np.array([0, 1, 2, 0]), np.array([0, 3, 3, 1])
    run = Predictions(gold, gold[::-1], gold + 5, cluster, {NEW_TEXT: gold > 0})
    some = run.on(run.masks[NEW_TEXT] | (gold == 0) & (cluster == 1))
    assert (some.gold.tolist(), some.predicted.tolist()) == ([1, 2, 0], [2, 1, 0])
    assert some.group is not None
    assert some.cluster is not None
    assert (some.group.tolist(), some.cluster.tolist(), some.masks) == ([6, 7, 5], [1, 1, 0], {})


def compared(share_new: float, known_right: float) -> tuple[Comparison, dict[ArmCell, Predictions]]:
    """Return a comparison in which an arm is better on the rows with known texts, and random on new ones."""
    rng, cells = np.random.default_rng(1), dict[ArmCell, Predictions]()
    gold, new = np.arange(ROWS) % 2, np.arange(ROWS) < share_new * ROWS
    right = {"random": (0.8, 0.6), "stratified_random": (0.8, 0.6), "hard(vog)": (0.5, known_right), "full": (0.9, 0.9)}
    for arm, (on_new, on_known) in right.items():
        for seed in range(3):
            hit = rng.random(ROWS) < np.where(new, on_new, on_known)
            masks = {NEW_TEXT: new} if 0 < new.sum() < ROWS else {}
            cells[arm, 1.0 if arm == "full" else 0.5, seed] = Predictions(gold, gold ^ ~hit, masks=masks)
    runs = []
    for cell, run in cells.items():
        hits, metrics = run.gold == run.predicted, {"macro_f1": 0.5, "worst_class_recall": 0.4}
        metrics |= {f"new_text_{name}": value for name, value in metrics.items()}
        metrics |= {"accuracy": hits.mean(), "new_text_accuracy": hits[new].mean() if new.any() else np.nan}
        runs.append(RunResult(*cell, 200, 10, metrics, (0.5, 0.5)))
    counts = {"rows": ROWS, "new_text_rows": int(new.sum())}
    plain = Comparison(
        ("a", "b"), (200, 200), {}, tuple(runs), summarise(runs), 0.95, "equal_epochs", new_texts=find_new_texts(counts)
    )
    return replace(plain, **plain.judged(cells, "accuracy", 0.02)), cells


def test_the_headline_is_on_new_texts_and_all_rows_stand_beside_it() -> None:
    found, cells = compared(NEW / ROWS, 0.95)
    assert found.new_texts is not None
    (all_rows,) = (one for one in found.summaries if one.arm == "hard(vog)")
    (on_new,) = (one for one in found.headline().summaries if one.arm == "hard(vog)")
    assert all_rows.verdict == "better than random and stratified random"
    assert on_new.verdict == "worse than random and stratified random"
    assert on_new.gap_to_random is not None
    assert on_new.gap_to_random.mean < 0
    inside = {cell: run.on(run.masks[NEW_TEXT]) for cell, run in cells.items()}
    assert found.new_texts.judgements == judge_arms(inside, 0.02, 0.95)
    assert {one.rows for one in found.new_texts.judgements} == {NEW}
    first, *others = found.findings()
    assert first.startswith("On new texts (120 of 400 test rows): No arm is better than both random")
    assert [text for text in others if text.startswith("On all 400 test rows: hard(vog) at 50 % of the data is better")]


def test_a_comparison_on_new_texts_survives_storage_and_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = compared(NEW / ROWS, 0.95)
    again = Comparison.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert again == found
    assert again.headline() == found.headline()
    reporter = SilentReporter()
    reporter.console.width = 200
    with reporter.console.capture() as capture:
        conclude(reporter, found)
    told = capture.get()
    assert "test results on new texts (120 of 400 test rows)" in told
    assert told.index("on new texts") < told.index("test results on all test rows")


def test_without_predictions_the_means_on_new_texts_are_left() -> None:
    found, _ = compared(NEW / ROWS, 0.95)
    found = replace(found, **found.judged({}, "accuracy", 0.02))
    (full, *_) = found.headline().summaries
    assert full.accuracy[0] == pytest.approx(np.mean([run.metrics["new_text_accuracy"] for run in found.runs[-3:]]))
    assert found.findings()[0].startswith("On new texts (120 of 400 test rows): No predictions stored")


@pytest.mark.parametrize(("new", "headline"), [(0, False), (49, False), (50, True), (399, True), (400, False)])
def test_few_new_texts_are_no_headline_and_all_of_them_need_none(new: int, headline: bool) -> None:
    counts = {"rows": 400, "new_text_rows": new}
    assert (find_new_texts(counts) is not None) == headline
    warned = few_new_texts(counts)
    assert bool(warned) == (new < MIN_NEW_ROWS)
    assert not warned or warned[0].startswith(f"{new} of 400 test rows have a new text, too few")
    assert find_new_texts({"rows": 400}) is None
    assert few_new_texts({"rows": 400}) == ()


def test_a_comparison_without_new_texts_is_its_own_headline() -> None:
    found, _ = compared(1.0, 0.95)
    assert found.new_texts is None
    assert found.headline() is found
    assert not [text for text in found.findings() if "new texts" in text]
