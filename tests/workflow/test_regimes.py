"""`compare.regime`: which retrainings are done at equal epochs, at equal steps, and by `auto`; one process, no Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raysample.cli import main
from raysample.core.config import CompareConfig, load
from raysample.core.progress import SilentReporter
from raysample.evaluation import FULL
from raysample.evaluation.comparison import Comparison
from raysample.execution.local import LocalExecutor
from raysample.tracking import MemoryTracker
from raysample.workflow.context import RunContext
from raysample.workflow.run import Pipeline
from tests.helpers.configs import write_config

pytestmark = pytest.mark.slow

FRACTIONS = [0.3, 0.5, 0.7]
REDRAWN = "stratified_random(redraw)"
ARMS = 3
WHOLE_STEPS = 14  # 200 rows in batches of 32, twice


@pytest.fixture(scope="module")
def finished(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison, str]:
    """Return the folder of a finished run with `auto`, its comparison, and its report."""
    folder = tmp_path_factory.mktemp("regimes")
    compare = {"seeds": [0], "fractions": FRACTIONS, "arms": [{"policy": "stratified_random", "redraw": True}]}
    assert main.main(["run", str(write_config(folder, small_run, compare=compare))]) == 0
    run = folder / "runs/small"
    return folder, Comparison.load(str(run / "comparison.json")), (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("regime", "found"),
    [
        ("auto", [["equal_epochs", "equal_steps"], ["equal_epochs"], ["equal_epochs"]]),
        ("equal_epochs", [["equal_epochs"]] * 3),
        ("equal_steps", [["equal_steps"]] * 3),
    ],
)
def test_the_regimes_of_each_fraction(regime: Any, found: list[list[str]]) -> None:
    config = CompareConfig(fractions=FRACTIONS, regime=regime)
    assert [config.regimes(fraction) for fraction in FRACTIONS] == found
    assert config.first_regime == found[1][0]
    assert CompareConfig().regime == "auto"


def test_by_default_small_fractions_are_retrained_at_equal_steps_as_well(
    finished: tuple[Path, Comparison, str],
) -> None:
    _, found, _ = finished
    assert found.regime == "equal_epochs"
    assert {(run.arm, run.fraction) for run in found.runs} == {
        (FULL, 1.0),
        *((arm, fraction) for fraction in FRACTIONS for arm in ("random", "stratified_random", REDRAWN)),
    }
    assert {run.fraction: run.steps for run in found.runs} == {1.0: WHOLE_STEPS, 0.3: 4, 0.5: 8, 0.7: 10}
    beside = found.equal_steps
    assert beside is not None
    assert beside.regime == "equal_steps"
    assert beside.equal_steps is None
    assert [(run.arm, run.fraction) for run in beside.runs] == [
        (FULL, 1.0),
        *((arm, 0.3) for arm in ("random", "stratified_random", REDRAWN)),
    ]
    assert {run.steps for run in beside.runs} == {WHOLE_STEPS}
    assert beside.runs[0] == found.runs[0]
    assert beside.kept_counts == {cell: rows for cell, rows in found.kept_counts.items() if cell[1] == 0.3}
    shorter = {run.arm: run.metrics["nll"] for run in found.runs if run.fraction == 0.3}
    assert all(run.metrics["nll"] != shorter[run.arm] for run in beside.runs[1:])


def test_both_regimes_use_the_same_selections_and_have_results_of_their_own(
    finished: tuple[Path, Comparison, str],
) -> None:
    run = finished[0] / "runs/small"
    arms = {path.name.removesuffix(".json") for path in (run / "arms").glob("*.json")}
    assert "full-1.0-seed-0" not in arms  # the scored fine-tuning
    assert sorted(name for name in arms if name.endswith("-equal-steps")) == [
        "random-0.3-seed-0-equal-steps",
        "stratified_random-0.3-seed-0-equal-steps",
        "stratified_random-redraw-0.3-seed-0-equal-steps",
    ]
    assert len(arms) == ARMS * (len(FRACTIONS) + 1)
    # 60 rows are two steps, so the longer training is seven passes and has seven draws; the others have two.
    selections = [path.name for path in (run / "selections").iterdir()]
    assert len(selections) == 2 * len(FRACTIONS) + 7 + 2 + 2


def test_the_terminal_and_the_report_show_both(
    finished: tuple[Path, Comparison, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, found, page = finished
    assert "Test results on all test rows, equal epochs" in page
    assert page.index("Test results on all test rows, equal epochs") < page.index("on all test rows, equal steps")
    assert "also equal steps, as many as all data takes" in page
    assert found.findings()[-1] == "At equal steps (below 50 % kept): no verdict."
    assert main.main(["compare", str(folder / "config.yaml")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert told.index("over seeds (equal epochs)") < told.index("over seeds (equal steps)")
    assert "At equal steps (below 50 % kept): no verdict." in told
    assert f"{1 + ARMS * 4} of {1 + ARMS * 4} runs were finished before" in told
    assert Comparison.load(str(folder / "runs/small/comparison.json")).to_dict() == found.to_dict()


def test_the_tracker_is_told_the_regime_and_the_draws(finished: tuple[Path, Comparison, str]) -> None:
    config, tracker = load(str(finished[0] / "config.yaml"), []), MemoryTracker()
    Pipeline(config, RunContext(LocalExecutor(), SilentReporter(), tracker)).compare()
    _, *runs = tracker.children
    told = {run.name: run for run in runs}
    assert len(told) == len(runs) == 1 + ARMS * 4
    epochs, steps = told[f"{REDRAWN} 30% seed 0"], told[f"{REDRAWN} 30% seed 0 equal steps"]
    assert (epochs.params["regime"], epochs.params["draws"]) == ("equal_epochs", 2)
    assert (steps.params["regime"], steps.params["draws"]) == ("equal_steps", 7)
    assert (epochs.logged["steps"], steps.logged["steps"]) == (4, WHOLE_STEPS)
    assert told["full 100% seed 0"].params["regime"] == "auto"


def test_other_regimes_find_what_auto_has_done(
    finished: tuple[Path, Comparison, str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(finished[0] / "config.yaml")
    total = 1 + ARMS * len(FRACTIONS)
    assert main.main(["compare", config, "compare.regime=equal_epochs"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"{total} of {total} runs were finished before" in told
    assert "equal steps" not in told
    assert main.main(["compare", config, "compare.regime=equal_steps"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"{1 + ARMS} of {total} runs were finished before" in told
    assert "equal epochs" not in told
    assert {run.steps for run in Comparison.load(str(finished[0] / "runs/small/comparison.json")).runs} == {WHOLE_STEPS}
