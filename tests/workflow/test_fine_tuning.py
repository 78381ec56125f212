"""Fine-tuning as a step of a run: it goes on where it was ended, saves what is wanted, and tells its curve."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from raysample.core.config import RunConfig
from raysample.core.errors import ConfigError
from raysample.core.progress import SilentReporter
from raysample.execution.local import LocalExecutor
from raysample.tracking import MemoryTracker, NullTracker, Tracker
from raysample.workflow import Pipeline, RunContext
from tests.helpers.configs import write_config

pytestmark = pytest.mark.slow

RECIPE = {"epochs": 2, "learning_rate": 3e-3, "checkpoints": 3, "precision": "float32", "resume": {"steps": 4}}


class Ended(BaseException):
    """What ends a run from outside."""


class Bar:
    def __init__(self, last: int) -> None:
        self.last = last

    def to(self, done: int, note: str = "") -> None:
        del note
        if done == self.last:
            raise Ended


class Ending(SilentReporter):
    """Ends a run after a step; keeps what it is told."""

    def __init__(self, last: int = 0) -> None:
        self.last, self.said = last, list[str]()

    def say(self, text: str = "") -> None:
        self.said.append(text)

    @contextmanager
    def bar(self, name: str, total: int, unit: str) -> Iterator[Any]:
        del name, total, unit
        yield Bar(self.last)


def pipeline(
    folder: Path, small_run: Path, reporter: SilentReporter, tracker: Tracker | None = None, **recipe: object
) -> Pipeline:
    folder.mkdir(exist_ok=True)
    path = write_config(folder, small_run, fine_tune={**RECIPE, **recipe})
    config = RunConfig.model_validate(yaml.safe_load(path.read_text()))
    return Pipeline(config, RunContext(LocalExecutor(), reporter, tracker or NullTracker()))


def test_the_same_command_goes_on_with_a_run_that_was_ended(small_run: Path, tmp_path: Path) -> None:
    whole = pipeline(tmp_path / "whole", small_run, SilentReporter()).checkpoints()[0]
    with pytest.raises(Ended):
        pipeline(tmp_path / "ended", small_run, Ending(7)).checkpoints()
    again, tracker = Ending(), MemoryTracker()
    trace = pipeline(tmp_path / "ended", small_run, again, tracker, workers=2).checkpoints()[0]
    assert "  went on from step 4 (1 worker)" in again.said
    assert trace.fingerprint == whole.fingerprint
    curve = pq.read_table(Path(trace.uri, "curve.parquet"))
    assert len(curve) == 14
    assert tracker.children[0].logged["train_loss"] == pytest.approx(curve["loss"][-1].as_py())


def test_an_older_recipes_state_is_cleared_away(small_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Ended):
        pipeline(folder, small_run, Ending(7)).checkpoints()
    shutil.rmtree(folder / "runs" / "small" / "corpus")
    (folder / "runs" / "small" / "run.json").unlink()
    again = Ending()
    trace = pipeline(folder, small_run, again, checkpoints=2).checkpoints()[0]
    assert not any("went on" in text for text in again.said)
    assert sorted(path.name for path in Path(trace.uri).glob("step-*")) == ["step-000007", "step-000014"]


def test_only_checkpoints_that_scores_look_at_are_retained(small_run: Path, tmp_path: Path) -> None:
    scores = {"scores": [{"name": "el2n", "checkpoints": {"first": 2}}, {"name": "vog", "checkpoints": {"spread": 2}}]}
    tables = []
    for retain in ("all", "scored"):
        (tmp_path / retain).mkdir()
        recipe = {**RECIPE, "checkpoints": 7, "keep_checkpoints": retain}
        path = write_config(tmp_path / retain, small_run, fine_tune=recipe, score=scores)
        config = RunConfig.model_validate(yaml.safe_load(path.read_text()))
        run = Pipeline(config, RunContext(LocalExecutor()))
        trace = run.checkpoints()[0]
        steps = [checkpoint.step for checkpoint in trace.checkpoints]
        assert steps == ([2, 4, 6, 8, 10, 12, 14] if retain == "all" else [2, 4, 8, 14])
        assert len(list(Path(trace.uri).glob("step-*"))) == len(steps)
        tables.append(run.scores().to_arrow())
    assert tables[0].equals(tables[1])


def test_what_economy_chooses_from_is_retained(small_run: Path, tmp_path: Path) -> None:
    path = write_config(
        tmp_path,
        small_run,
        fine_tune={**RECIPE, "keep_checkpoints": "scored"},
        score={"scores": ["vog"], "economy": {}},
    )
    config = RunConfig.model_validate(yaml.safe_load(path.read_text()))
    with pytest.raises(ConfigError, match=r"saves a part of them(.|\n)*keep_checkpoints: all"):
        Pipeline(config, RunContext(LocalExecutor())).checkpoints()


def test_comparisons_are_not_stopped_early(small_run: Path, tmp_path: Path) -> None:
    stopping = {"holdout": 0.2, "patience": 1, "metric": "accuracy", "min_delta": 1.0}
    run = pipeline(tmp_path / "run", small_run, SilentReporter(), epochs=4, early_stopping=stopping)
    trace = run.checkpoints()[0]
    assert trace.checkpoints[-1].epoch == 2.0
    run.scores()
    compared = run.compare()
    assert {result.steps for result in compared.runs if result.arm == "full"} == {28}
