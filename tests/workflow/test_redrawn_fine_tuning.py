"""`fine_tune.dynamic`: the scored run itself is trained on a new sample in every epoch; one process, no Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

import raysample
from raysample.cli import main
from raysample.core.config import FineTuneConfig, RunConfig
from raysample.core.errors import ConfigError, ProvenanceError, ScoreError, SelectionError
from raysample.core.progress import SilentReporter
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.evaluation.comparison import Comparison
from raysample.execution.local import LocalExecutor
from raysample.selection import Selection
from raysample.selection.redraws import draw_seed
from raysample.selection.row_table import write_row_table
from raysample.testing import tiny_corpus_files
from raysample.tracking import MemoryTracker
from raysample.workflow.context import RunContext
from raysample.workflow.redrawn_rows import check_dynamic
from raysample.workflow.run import Pipeline
from tests.helpers.configs import write_config
from tests.workflow.test_fine_tuning import Ended, Ending

RECIPE = {"epochs": 2, "learning_rate": 3e-3, "checkpoints": 3, "resume": {"steps": 2}}
STRATIFIED = {"redraw": {"policy": "stratified_random"}}


def config(folder: Path, small_run: Path, dynamic: dict[str, Any] | None, **changes: Any) -> Path:
    """Write the configuration of a small run whose fine-tuning is `dynamic`."""
    folder.mkdir(exist_ok=True)
    recipe = {**RECIPE, **changes.pop("fine_tune", {}), "dynamic": dynamic}
    compare = {"seeds": [0, 1], "arms": [{"policy": "hard", "score": "el2n"}]}
    rest = {"score": {"scores": ["el2n"]}, "compare": compare, **changes}
    return write_config(folder, small_run, fine_tune=recipe, **rest)


def pipeline(path: Path, reporter: Any = None, tracker: Any = None) -> Pipeline:
    """Return the pipeline of a configuration."""
    read = RunConfig.model_validate(yaml.safe_load(path.read_text()))
    return Pipeline(read, RunContext(LocalExecutor(), reporter or SilentReporter(), tracker or MemoryTracker()))


@pytest.fixture(scope="module")
def finished(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run whose fine-tuning drew half of the rows anew for each of two epochs."""
    folder = tmp_path_factory.mktemp("dynamic")
    assert main.main(["run", str(config(folder, small_run, STRATIFIED, compare={"seeds": [0]}))]) == 0
    return folder / "runs/small"


def test_every_epoch_of_the_fine_tuning_has_a_draw(finished: Path) -> None:
    draws = [Selection.load(str(finished / "draws" / name)) for name in ("seed-0", "seed-0-epoch-2")]
    assert [draw.seed for draw in draws] == [0, draw_seed(0, 1)]
    assert [draw.counts["kept"] for draw in draws] == [100, 100]
    assert draws[0].digest != draws[1].digest
    assert sorted(path.name for path in (finished / "draws").iterdir()) == ["rows", "seed-0", "seed-0-epoch-2"]
    # 100 rows in batches of 32 are four steps, twice.
    assert len(pq.read_table(finished / "checkpoints/seed-0/curve.parquet")) == 8


def test_a_comparison_trains_full_on_all_rows(finished: Path) -> None:
    runs = {run.arm: run for run in Comparison.load(str(finished / "comparison.json")).runs}
    assert (runs["full"].kept, runs["full"].steps) == (200, 14)
    assert (runs["random"].kept, runs["random"].steps) == (100, 8)


def test_a_finished_fine_tuning_is_found_again(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = finished.parent.parent / "config.yaml"
    assert main.main(["fine-tune", str(path)]) == 0
    assert "finished before, taken as it is" in capsys.readouterr().out
    assert main.main(["fine-tune", str(path), "fine_tune.dynamic.share=0.4"]) == 2
    assert "fine_tune.dynamic.share was 0.5 and is 0.4 now" in capsys.readouterr().err


def test_a_redrawn_fine_tuning_goes_on_where_it_was_ended(small_run: Path, tmp_path: Path, finished: Path) -> None:
    path, tracker = config(tmp_path, small_run, STRATIFIED), MemoryTracker()
    with pytest.raises(Ended):
        pipeline(path, Ending(5)).checkpoints()
    again = Ending()
    found = pipeline(path, again, tracker).checkpoints()[0]
    assert "  went on from step 4 (1 worker)" in again.said
    one, other = (
        pq.read_table(Path(folder, "curve.parquet")).drop_columns(["seconds"])
        for folder in (found.uri, finished / "checkpoints/seed-0")
    )
    assert one.equals(other)
    first = Selection.load(str(tmp_path / "runs/small/draws/seed-0"))
    assert ("stratified_random", first.fingerprint, "training") in tracker.children[0].datasets
    assert tracker.children[0].logged["kept_rows"] == 100


def test_draws_by_a_score_need_its_table(finished: Path, small_run: Path, tmp_path: Path) -> None:
    by_score = {"redraw": {"policy": "softmax", "score": "el2n"}, "share": 0.3}
    path = config(tmp_path / "by", small_run, {**by_score, "scores": str(finished / "scores")})
    pipeline(path).checkpoints()
    table = ScoreTable.load(str(finished / "scores"))
    draws = [Selection.load(str(tmp_path / f"by/runs/small/draws/seed-0{end}")) for end in ("", "-epoch-2")]
    assert {draw.scores for draw in draws} == {table.fingerprint}
    assert [draw.counts["kept"] for draw in draws] == [60, 60]

    with pytest.raises(ConfigError, match=r"(?s)reads el2n, and names no scores.*fine_tune\.dynamic\.scores"):
        check_dynamic(FineTuneConfig.model_validate({"dynamic": by_score}))
    lacking = {"redraw": {"policy": "softmax", "score": "vog"}, "scores": str(finished / "scores")}
    with pytest.raises((ScoreError, SelectionError), match="vog"):
        check_dynamic(FineTuneConfig.model_validate({"dynamic": lacking}))
    other = config(tmp_path / "other", small_run, {**by_score, "scores": str(finished / "scores")})
    other.write_text(other.read_text().replace("train.parquet", "test.parquet"))
    with pytest.raises(ProvenanceError, match="was made from another corpus"):
        pipeline(other).checkpoints()


@pytest.mark.parametrize(
    ("dynamic", "more", "message"),
    [
        ({"redraw": {"policy": "hard", "score": "el2n"}}, {}, "keeps the same rows whatever the seed"),
        ({"redraw": {"policy": "softmax", "score": "el2n"}}, {}, "and names no scores"),
        ({"redraw": {"policy": "random", "cap_per_group": 3}}, {}, "goes by groups, and corpus.train names no column"),
        ({"redraw": {"policy": "random", "redraw": True}}, {}, "leave `redraw: true` out of it"),
        ({"redraw": {"policy": "random"}, "share": 1.5}, {}, "fine_tune.dynamic.share"),
        ({"redraw": {"policy": "random", "quota": "all"}}, {}, "fine_tune.dynamic.redraw.quota"),
        ({"share": 0.5}, {}, "fine_tune.dynamic: give either redraw (an arm that draws) or infobatch"),
        (STRATIFIED, {"capture": True}, "capture needs the same rows in every epoch"),
        (STRATIFIED, {"early_stopping": {}}, "early_stopping needs the same rows in every epoch"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_any_work(
    dynamic: dict[str, Any],
    more: dict[str, Any],
    message: str,
    small_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main.main(["fine-tune", str(config(tmp_path, small_run, dynamic, fine_tune=more))]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs/small/corpus").exists()


def test_limits_that_leave_fewer_rows_than_the_share_are_refused(small_run: Path, tmp_path: Path) -> None:
    dynamic = {"redraw": {"policy": "random", "max_per_class": 10}, "share": 0.9}
    with pytest.raises(SelectionError, match=r"at most 10 of a class. leaves 30 rows, the budget needs 180"):
        pipeline(config(tmp_path, small_run, dynamic)).checkpoints()


def test_only_checkpoints_that_scores_look_at_are_saved(small_run: Path, tmp_path: Path) -> None:
    more = {"checkpoints": 8, "keep_checkpoints": "scored"}
    scores = {"scores": [{"name": "el2n", "checkpoints": {"first": 2}}]}
    found = pipeline(config(tmp_path, small_run, STRATIFIED, fine_tune=more, score=scores)).checkpoints()[0]
    assert [checkpoint.step for checkpoint in found.checkpoints] == [1, 2, 8]


def test_a_plan_counts_the_steps_of_the_samples(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["plan", str(config(tmp_path, small_run, STRATIFIED)), "--rows", "60"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "fine-tune 8 steps" in out
    # Three arms and all rows, twice: a fine-tuning on samples is not the full run of its seed.
    assert "compare 8 retrainings, 76 steps" in out


def test_a_fine_tuning_prunes_by_losses_and_says_what_it_takes(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dynamic = {"infobatch": {"prune": 0.5}, "share": 0.7}
    path = config(tmp_path, small_run, dynamic)
    assert main.main(["plan", str(path), "--rows", "60"]) == 0
    assert "fine-tune 10 steps" in " ".join(capsys.readouterr().out.split())  # 0.7 of 14, rounded up
    found = pipeline(path).checkpoints()[0]
    assert found.checkpoints[-1].step == 10
    assert not (tmp_path / "runs/small/draws").exists()
    other = config(tmp_path / "all", small_run, None)
    one, all_rows = (
        pq.read_table(Path(each.uri, "curve.parquet")) for each in (found, pipeline(other).checkpoints()[0])
    )
    # The first pass is on all rows, in the same order.
    assert one["loss"][0].as_py() == all_rows["loss"][0].as_py()


def test_a_program_can_fine_tune_on_new_samples(tmp_path: Path) -> None:
    train, test = tiny_corpus_files(tmp_path / "train", 60), tiny_corpus_files(tmp_path / "test", 30, 1)
    recipe = {"epochs": 3, "checkpoints": 1, "batch_size": 8, "dynamic": {"redraw": {"policy": "random"}, "share": 0.2}}
    found = raysample.fine_tune(train, test, str(tmp_path / "run"), recipe=recipe)
    assert [checkpoint.step for checkpoint in found.checkpoints] == [6]
    draws = [Selection.load(str(tmp_path / f"run/draws/seed-0{end}")) for end in ("", "-epoch-2", "-epoch-3")]
    assert len({draw.digest for draw in draws}) == 3
    grouped = {**recipe, "dynamic": {"redraw": {"policy": "random", "cap_per_group": 3}}}
    with pytest.raises(ConfigError, match="goes by groups"):
        raysample.fine_tune(train, test, str(tmp_path / "no"), recipe=grouped)


def test_a_table_without_scores_has_the_rows_of_its_corpus(finished: Path, tmp_path: Path) -> None:
    corpus = Corpus.load(str(finished / "corpus/train"))
    table = write_row_table(corpus, str(tmp_path / "rows"))
    scored = ScoreTable.load(str(finished / "scores")).to_arrow()
    assert table.to_arrow().select(["row_id", "label"]).equals(scored.select(["row_id", "label"]))
    before = (tmp_path / "rows/scores.json").stat().st_mtime_ns
    assert write_row_table(corpus, str(tmp_path / "rows")).fingerprint == table.fingerprint
    assert (tmp_path / "rows/scores.json").stat().st_mtime_ns == before
    test = Corpus.load(str(finished / "corpus/test"))
    assert write_row_table(test, str(tmp_path / "rows")).counts["scored"] == 60
