"""Equal steps beside equal epochs: the nested comparison is stored, and a sentence says what it changes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from raysample.cli.conclusion import conclude
from raysample.core.errors import StorageError
from raysample.core.progress import SilentReporter
from raysample.evaluation import ArmCell, Predictions
from raysample.evaluation.arm_summary import RunResult, summarise
from raysample.evaluation.comparison import Comparison
from raysample.evaluation.new_texts import find_new_texts
from raysample.evaluation.rarity import NEW_TEXT

ROWS, NEW = 400, 100
RANDOMS = {"random": 300, "stratified_random": 300}


def compared(
    at: dict[float, dict[str, int]], regime: str, seeds: int = 3, new: dict[str, int] | None = None
) -> Comparison:
    """Judge arms by the number of rows, of 400, that their models are right on; `new`: of the first 100, by arm."""
    cells = dict[ArmCell, Predictions]()
    for fraction, arms in {1.0: {"full": 380}, **at}.items():
        for arm, right in arms.items():
            for seed in range(seeds):
                gold, hit = np.arange(ROWS) % 2, np.arange(ROWS) >= ROWS - right - seed
                inside = np.arange(ROWS) < NEW
                if new is not None:
                    hit = np.where(inside, np.arange(ROWS) < new.get(arm, 50) + seed, hit)
                cells[arm, fraction, seed] = Predictions(
                    gold, gold ^ ~hit, masks={} if new is None else {NEW_TEXT: inside}
                )
    runs = []
    for cell, said in cells.items():
        hits = said.gold == said.predicted
        metrics = {"accuracy": hits.mean(), "macro_f1": 0.5, "worst_class_recall": 0.4}
        metrics |= {"new_text_accuracy": hits[:NEW].mean(), "new_text_macro_f1": 0.5, "new_text_worst_class_recall": 0}
        runs.append(RunResult(*cell, 100, 10, metrics, (0.5, 0.5)))
    counts = {"rows": ROWS, **({} if new is None else {"new_text_rows": NEW})}
    plain = Comparison(
        ("a", "b"), (6, 4), {}, tuple(runs), summarise(runs), 0.95, regime, new_texts=find_new_texts(counts)
    )
    return replace(plain, **plain.judged(cells, "accuracy", 0.02))


def both(epochs: dict[str, int], steps: dict[str, int], seeds: int = 3) -> Comparison:
    """Return a comparison at 0.1 and 0.5, the former in both regimes."""
    larger = {**RANDOMS, "hard": 360}
    first = compared({0.5: larger, 0.1: {**RANDOMS, **epochs}}, "equal_epochs", seeds)
    return replace(first, equal_steps=compared({0.1: {**RANDOMS, **steps}}, "equal_steps", seeds))


@pytest.mark.parametrize(
    ("epochs", "steps", "sentence"),
    [
        (
            {"hard": 360},
            {"hard": 300},
            "At equal steps (below 50 % kept): better than random only at equal epochs: hard at 10 % (+15.00).",
        ),
        (
            {"hard": 300, "easy": 300},
            {"hard": 360, "easy": 200},
            "At equal steps (below 50 % kept): better than random only at equal steps: hard at 10 % (+15.00); "
            "worse than random only at equal steps: easy at 10 % (−25.00).",
        ),
        (
            {"hard": 200},
            {"hard": 380},
            "At equal steps (below 50 % kept): better than random only at equal steps: hard at 10 % (+20.00); "
            "worse than random only at equal epochs: hard at 10 % (−25.00); "
            "as good as all data only at equal steps: hard at 10 % (+0.00).",
        ),
        (
            {"hard": 360, "easy": 200},
            {"hard": 350, "easy": 210},
            "At equal steps (below 50 % kept): the verdicts are those at equal epochs "
            "(better than random, worse than random: the same arms).",
        ),
        ({"hard": 300}, {"hard": 300}, "At equal steps (below 50 % kept): nothing is decided, as at equal epochs."),
    ],
)
def test_a_sentence_says_what_equal_steps_change(epochs: dict[str, int], steps: dict[str, int], sentence: str) -> None:
    found = both(epochs, steps)
    assert found.findings() == [*replace(found, equal_steps=None).findings(), sentence]


def test_the_sentence_stands_before_the_remarks_and_tells_weak_evidence() -> None:
    found = replace(both({"hard": 360}, {"hard": 300}, seeds=2), remarks=("Fixed.",))
    *_, sentence, last = found.findings()
    assert sentence.startswith("At equal steps (below 50 % kept), weak evidence: better than random only at equal ep")
    assert last == "Fixed."
    assert both({"hard": 360}, {"hard": 300}, seeds=1).findings()[-1] == "At equal steps (below 50 % kept): no verdict."


def test_both_regimes_survive_storage() -> None:
    found = both({"hard": 360}, {"hard": 300})
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    again = Comparison.from_dict(data)
    assert again == found
    assert again.equal_steps is not None
    assert again.equal_steps.regime == "equal_steps"
    assert {one.fraction for one in again.equal_steps.summaries} == {1.0, 0.1}
    assert again.findings() == found.findings()
    data["equal_steps"]["regime"] = 7
    with pytest.raises(ValueError, match="regime"):
        Comparison.from_dict(data)


def test_a_damaged_comparison_at_equal_steps_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("damaged") / "comparison.json"
    data = both({"hard": 360}, {"hard": 300}).to_dict()
    del data["equal_steps"]["runs"]
    path.write_text(json.dumps(data))
    with pytest.raises(StorageError, match="lacks 'runs'"):
        Comparison.load(str(path))


def test_verdicts_on_new_texts_are_compared_where_they_are_the_headline() -> None:
    arms = {**RANDOMS, "hard": 300}
    first = compared({0.1: arms}, "equal_epochs", new={"hard": 50})
    found = replace(first, equal_steps=compared({0.1: arms}, "equal_steps", new={"hard": 95}))
    assert (
        "At equal steps (below 50 % kept): better than random only at equal steps: hard at 10 % (+45.00)"
        in " ".join(found.findings())
    )
    reporter = SilentReporter()
    reporter.console.width = 200
    with reporter.console.capture() as capture:
        conclude(reporter, found)
    told = capture.get()
    places = [
        told.index(f"test results on {rows}, mean ± sd over seeds ({regime})")
        for regime in ("equal epochs", "equal steps")
        for rows in ("new texts (100 of 400 test rows)", "all test rows")
    ]
    assert places == sorted(places)
