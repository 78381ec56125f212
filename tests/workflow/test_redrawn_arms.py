"""Arms of a comparison that are drawn anew for every epoch; one process, no Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raysample.cli import main
from raysample.core.config import load
from raysample.core.progress import SilentReporter
from raysample.data.corpus import Corpus
from raysample.evaluation.comparison import Comparison
from raysample.execution.local import LocalExecutor
from raysample.selection import Selection, apply
from raysample.selection.redraws import draw_seed
from raysample.tracking import MemoryTracker
from raysample.workflow.context import RunContext
from raysample.workflow.run import Pipeline
from tests.helpers.configs import write_config

STRATIFIED = "stratified_random(redraw)"
ARMS = [{"policy": "stratified_random", "redraw": True}, {"policy": "softmax", "score": "el2n", "redraw": True}]


@pytest.fixture(scope="module")
def finished(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run: two epochs, the two arms and the baselines, two seeds."""
    folder = tmp_path_factory.mktemp("redrawn")
    compare = {"seeds": [0, 1], "arms": ARMS}
    assert main.main(["run", str(write_config(folder, small_run, compare=compare, score={"scores": ["el2n"]}))]) == 0
    return folder


def chosen(folder: Path, name: str) -> Selection:
    return Selection.load(str(folder / "runs/small/selections" / name))


def test_every_epoch_has_a_selection_and_the_first_is_the_fixed_one(finished: Path) -> None:
    for seed in (0, 1):
        fixed = chosen(finished, f"stratified_random-0.5-seed-{seed}")
        first = chosen(finished, f"stratified_random-redraw-0.5-seed-{seed}")
        second = chosen(finished, f"stratified_random-redraw-0.5-seed-{seed}-epoch-2")
        assert first.fingerprint == fixed.fingerprint
        assert second.seed == draw_seed(seed, 1)
        assert second.digest != first.digest
        assert second.kept_class_counts == first.kept_class_counts
    names = [path.name for path in (finished / "runs/small/selections").iterdir()]
    assert len(names) == 2 * (2 + 2 * 2)


def test_the_comparison_has_the_redrawn_arms_at_the_same_cost(finished: Path) -> None:
    runs = {(run.arm, run.seed): run for run in Comparison.load(str(finished / "runs/small/comparison.json")).runs}
    for seed in (0, 1):
        redrawn, fixed = runs[STRATIFIED, seed], runs["stratified_random", seed]
        assert (redrawn.kept, redrawn.steps) == (fixed.kept, fixed.steps)
        assert redrawn.metrics["nll"] != fixed.metrics["nll"]


def test_finished_arms_are_found_again(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["compare", str(finished / "config.yaml")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "10 of 10 runs were finished before" in out
    assert "12 selections in" in out
    assert f"{STRATIFIED} at 50%: class shift" in out
    assert "drawn anew for each of 2 epochs" in out


def test_with_equal_steps_there_are_as_many_draws_as_passes(finished: Path, tmp_path: Path, small_run: Path) -> None:
    compare = {"seeds": [0], "arms": ARMS[:1], "fractions": [0.3], "regime": "equal_steps"}
    assert main.main(["run", str(write_config(tmp_path, small_run, compare=compare, score={"scores": ["el2n"]}))]) == 0
    runs = Comparison.load(str(tmp_path / "runs/small/comparison.json")).runs
    assert {run.steps for run in runs} == {14}  # of 200 rows in batches of 32, twice
    # 60 rows are two steps, so 14 steps are seven passes.
    draws = [chosen(tmp_path, f"stratified_random-redraw-0.3-seed-0{end}") for end in _ends(7)]
    assert len({draw.digest for draw in draws}) == 7
    assert not (tmp_path / "runs/small/selections/stratified_random-redraw-0.3-seed-0-epoch-8").exists()


def _ends(epochs: int) -> list[str]:
    return ["", *(f"-epoch-{epoch}" for epoch in range(2, epochs + 1))]


def test_a_draw_is_applied_like_any_selection(finished: Path, tmp_path: Path) -> None:
    draw = chosen(finished, "stratified_random-redraw-0.5-seed-1-epoch-2")
    corpus = Corpus.load(str(finished / "runs/small/corpus/train"))
    assert apply(draw, corpus, str(tmp_path / "kept")).rows == draw.counts["kept"] == 100


def test_the_tracker_is_told_the_first_draw_and_how_many_there_are(finished: Path) -> None:
    config, tracker = load(str(finished / "config.yaml"), []), MemoryTracker()
    Pipeline(config, RunContext(LocalExecutor(), SilentReporter(), tracker)).compare()
    sample, *arms = tracker.children
    first = chosen(finished, "stratified_random-redraw-0.5-seed-0")
    assert (STRATIFIED, first.fingerprint, "selection") in sample.datasets
    told = {run.name: run for run in arms}
    assert told[f"{STRATIFIED} 50% seed 0"].params["draws"] == 2
    assert told["stratified_random 50% seed 0"].params["draws"] == 1


@pytest.mark.parametrize(("budget", "name"), [("0.25", "0.25"), ("40", "40-rows")])
def test_a_budget_has_a_selection_for_every_epoch(
    budget: str, name: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["sample", str(finished / "config.yaml"), f"sample.budget={budget}"]) == 0
    assert f"{STRATIFIED}: {'50' if budget == '0.25' else '40'} of 200 rows" in capsys.readouterr().out
    draws = [chosen(finished, f"stratified_random-redraw-{name}-seed-0{end}") for end in _ends(2)]
    assert draws[0].digest != draws[1].digest


def test_draws_of_a_budget_in_tokens_differ_in_rows(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["sample", str(finished / "config.yaml"), "sample.budget={tokens: 701}"]) == 2
    assert "every epoch needs as many as the first" in " ".join(capsys.readouterr().err.split())


def test_a_dry_run_lists_the_draws(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted((finished / "runs/small/selections").iterdir())
    assert main.main(["sample", str(finished / "config.yaml"), "--dry-run"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"{STRATIFIED} at 50%; drawn anew for each of 2 epochs" in out
    assert sorted((finished / "runs/small/selections").iterdir()) == before


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (
            {"policy": "hard", "score": "el2n", "redraw": True},
            "hard(el2n, redraw)' keeps the same rows",
        ),
        ({"policy": "auto", "redraw": True}, "has settings beside policy: auto"),
        ({"policy": "random", "redraw": "often"}, "compare.arms.0.redraw"),
    ],
)
def test_what_cannot_be_redrawn_is_refused_before_any_work(
    arm: dict[str, Any], message: str, tmp_path: Path, small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, small_run, compare={"arms": [arm]}, score={"scores": ["el2n"]})
    assert main.main(["run", str(config)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs/small").exists()
