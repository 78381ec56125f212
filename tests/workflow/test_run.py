"""The whole loop in this process: every command, reuse of finished work, and what goes wrong early."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raysample
from raysample.cli import main
from raysample.core.config import load
from raysample.core.errors import ResultWarning
from raysample.core.progress import SilentReporter
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.evaluation.comparison import Comparison
from raysample.execution.local import LocalExecutor
from raysample.report.formatting import duration
from raysample.tracking import MemoryTracker
from raysample.workflow import Pipeline, RunContext
from tests.helpers.configs import write_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert main.main(["run", str(write_config(folder, small_run))]) == 0
    return folder


def test_a_run_leaves_every_noun_and_the_report(finished: Path) -> None:
    space = finished / "runs" / "small"
    for name in (
        "config.yaml",
        "corpus/train/corpus.json",
        "checkpoints/seed-0/checkpoints.json",
        "scores/scores.json",
        "selections/hard-vog~class-0.5-seed-1/selection.json",
        "arms/random-0.5-seed-0.json",
        "comparison.json",
        "report.html",
    ):
        assert (space / name).exists(), name
    comparison = json.loads((space / "comparison.json").read_text())
    assert [row["arm"] for row in comparison["summaries"]] == ["full", "random", "stratified_random", "hard(vog|class)"]
    assert len(comparison["runs"]) == 2 * 4
    assert ScoreTable.load(str(space / "scores")).columns == ("vog", "el2n")


def test_a_run_stores_predictions_without_text_and_judges_by_them(finished: Path) -> None:
    space = finished / "runs" / "small"
    stored = [pq.read_table(path) for path in sorted(space.glob("arms/*.predictions.parquet"))]
    # The full data set's first seed was scored, its predictions lie beside the checkpoints.
    stored.append(pq.read_table(space / "checkpoints/seed-0/predictions.parquet"))
    assert len(stored) == 2 * 4
    for table in stored:
        assert table["gold"].equals(stored[0]["gold"])
        assert not [field.name for field in table.schema if pa.types.is_string(field.type)]
    comparison = json.loads((space / "comparison.json").read_text())
    judged = [one for one in comparison["judgements"] if one["objective"] == "accuracy" and one["baseline"] == "random"]
    assert [one["arm"] for one in judged] == ["stratified_random", "hard(vog|class)"]
    assert all(one["weak"] and one["high"] > one["low"] for one in judged)
    assert comparison["remarks"][0].startswith("The selection was fixed: hard(vog|class) chose by the same scores")
    first = (space / "report.html").read_text().partition('<p class="first">')[2].partition("</p>")[0]
    assert first.startswith(
        ("Before any verdict: ", "Weak evidence: ", "No arm", "hard(vog|class)", "stratified_random")
    )


def test_runs_whose_predictions_were_deleted_give_means_without_verdict(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_config(tmp_path, small_run, compare={"seeds": [0, 1]}))
    assert main.main(["run", config]) == 0
    for path in tmp_path.glob("runs/small/**/*predictions.parquet"):
        path.unlink()
    assert main.main(["run", config]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "No predictions stored: means without verdict." in told


@pytest.mark.parametrize("rate", [1e-9, 1e-12, 1e-15])
def test_an_untrained_model_is_told_everywhere(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rate: float
) -> None:
    training = {"epochs": 1, "learning_rate": rate, "checkpoints": 2}
    config = str(write_config(tmp_path, small_run, fine_tune=training, compare={"seeds": [0]}))
    assert main.main(["run", config]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "warning: the model is untrained" in told or "warning: the model is a constant predictor" in told
    space = tmp_path / "runs/small"
    doubts = json.loads((space / "comparison.json").read_text())["doubts"]
    assert any("the model trained on all data is untrained" in doubt for doubt in doubts)
    assert f"Before any verdict: {doubts[0][:40]}" in (space / "report.html").read_text()
    assert CheckpointSet.load(str(space / "checkpoints/seed-0")).warnings


def test_scores_that_are_mostly_length_are_named_after_the_scoring(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysample.selection.lengths.MOSTLY", 0.0)  # so that every score is
    assert main.main(["score", str(finished / "config.yaml")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "warning: vog is mostly the length of the text (rank correlation with the number of tokens" in told
    assert "warning: el2n is mostly the length" in told
    space = str(finished / "runs/small")
    corpus = Corpus.load(f"{space}/corpus/train")
    with pytest.warns(ResultWarning, match="el2n is mostly the length of the text"):
        raysample.score(CheckpointSet.load(f"{space}/checkpoints/seed-0"), corpus, ["el2n"])


def test_the_pruned_rows_of_every_arm_are_stored_with_the_run(finished: Path) -> None:
    config, tracker = load(str(finished / "config.yaml"), []), MemoryTracker()
    Pipeline(config, RunContext(LocalExecutor(), SilentReporter(), tracker)).sample()
    stored = tracker.children[0].artifacts
    for arm in ("random", "stratified_random", "hard-vog~class"):
        folder = finished / f"runs/small/selections/{arm}-0.5-seed-0"
        for name in ("selection.json", "kept.parquet"):
            assert f"selections/{folder.name}/{folder / name}" in stored


def test_a_second_run_reuses_what_is_finished(
    finished: Path, small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = finished / "runs" / "small"
    watched = [
        *space.glob("checkpoints/**/*.safetensors"),
        *space.glob("scores/**/*.parquet"),
        *space.glob("arms/*.json"),
    ]
    times = {path: path.stat().st_mtime_ns for path in watched}
    before = (space / "comparison.json").read_bytes()
    assert main.main(["run", str(finished / "config.yaml")]) == 0
    assert {path: path.stat().st_mtime_ns for path in watched} == times
    assert (space / "comparison.json").read_bytes() == before
    assert "8 of 8 runs were finished before" in capsys.readouterr().out


def test_one_more_seed_trains_only_what_is_new(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["compare", str(finished / "config.yaml"), "compare.seeds=[0,1,2]"]) == 0
    assert "8 of 12 runs were finished before" in capsys.readouterr().out


def test_each_step_alone_asks_for_the_one_before(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_config(tmp_path, small_run))
    assert main.main(["score", config]) == 2
    assert "run `raysample fine-tune` with this configuration first" in capsys.readouterr().err
    assert main.main(["fine-tune", config]) == 0
    assert main.main(["sample", config]) == 2
    assert "run `raysample score` with this configuration first" in capsys.readouterr().err
    assert main.main(["score", config]) == 0
    assert main.main(["sample", config]) == 0
    assert "selections" in capsys.readouterr().out


def test_the_report_can_be_written_again(finished: Path) -> None:
    report = finished / "runs" / "small" / "report.html"
    report.unlink()
    assert main.main(["report", str(finished / "config.yaml")]) == 0
    assert "hard(vog|class)" in report.read_text()


def test_a_folder_of_another_config_is_refused(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["run", str(finished / "config.yaml"), "fine_tune.epochs=5"]) == 2
    said = capsys.readouterr().err
    assert "belongs to another configuration: fine_tune.epochs was 2 and is 5 now" in said
    assert "give this run another `name` or `output`" in said


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("corpus.columns.text=utterance", "utterance"),
        ("corpus.train.path=/nowhere.parquet", "/nowhere.parquet"),
        ("fine_tune.epoch=1", "did you mean 'epochs'"),
        ("compare.fractions=[1.5]", "less than 1"),
        ("model.path=no-such-folder", "no-such-folder"),
        ("score.scores=[vogg]", "vog"),
        ("compare.arms=[{policy: hardest, score: vog}]", "hard"),
        ("compare.arms=[{policy: hard, score: grand}]", "grand"),
    ],
)
def test_bad_input_is_told_before_expensive_work(
    override: str, expected: str, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["run", str(write_config(tmp_path, small_run)), override]) == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert "->" in captured.err
    assert "Traceback" not in captured.err
    assert not list(tmp_path.glob("runs/small/checkpoints/*/step-*"))


def test_a_label_seen_only_in_test_is_told_early(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = pq.read_table(small_run / "test.parquet").slice(0, 3)
    labels = pa.array(["never seen"] * 3)
    odd = odd.set_column(odd.column_names.index("label"), "label", labels)
    pq.write_table(pa.concat_tables([pq.read_table(small_run / "test.parquet"), odd]), tmp_path / "test.parquet")
    config = str(write_config(tmp_path, small_run))
    assert main.main(["run", config, f"corpus.test.path={tmp_path / 'test.parquet'}"]) == 2
    assert "never seen" in capsys.readouterr().err


def test_debug_shows_the_traceback(small_run: Path, tmp_path: Path) -> None:
    from raysample.core.errors import ConfigError

    with pytest.raises(ConfigError):
        main.main(["score", str(write_config(tmp_path, small_run)), "--debug"])


def test_an_unreachable_tracking_server_is_told_early(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_config(tmp_path, small_run, tracking={"uri": "http://127.0.0.1:9"}))
    assert main.main(["run", config]) == 2
    assert "127.0.0.1:9" in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/small/checkpoints/*/step-*"))


def test_an_interrupt_keeps_what_is_finished(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from raysample.execution.local import LocalExecutor

    config = str(write_config(tmp_path, small_run))
    real = LocalExecutor.fine_tune_many

    def interrupted(self: LocalExecutor, *args: object) -> object:
        for done, pair in enumerate(real(self, *args)):  # type: ignore[arg-type]
            if done == 2:
                raise KeyboardInterrupt
            yield pair

    with monkeypatch.context() as patch:
        patch.setattr(LocalExecutor, "fine_tune_many", interrupted)
        assert main.main(["run", config]) == 130
    assert "run the same command to go on" in capsys.readouterr().err
    assert main.main(["run", config]) == 0
    assert "3 of 8 runs were finished before" in capsys.readouterr().out


def test_equal_steps_train_a_sample_as_long_as_the_whole(finished: Path) -> None:
    assert main.main(["compare", str(finished / "config.yaml"), "compare.regime=equal_steps", "compare.seeds=[0]"]) == 0
    comparison = json.loads((finished / "runs" / "small" / "comparison.json").read_text())
    assert len({run["steps"] for run in comparison["runs"]}) == 1
    assert {run["kept"] for run in comparison["runs"]} != {comparison["runs"][0]["kept"]}


def test_the_report_tells_what_choosing_cost(finished: Path) -> None:
    run = finished / "runs" / "small"
    seconds = ScoreTable.load(str(run / "scores")).cost["score_seconds"]
    assert seconds > 0
    assert Comparison.load(str(run / "comparison.json")).choice_seconds == {"hard(vog|class)": seconds}
    assert f'<td class="num">{duration(seconds)}</td>' in (run / "report.html").read_text()


def test_the_objective_of_a_finished_run_can_be_changed(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["compare", str(finished / "config.yaml"), "compare.objective=macro_f1"]) == 0
    told = capsys.readouterr().out
    assert "runs were finished before" in told
    assert "points of macro-F1, by compare.objective" in " ".join(told.split())
