"""`raysample plan`: a miniature of the run, measured and multiplied."""

import re
from pathlib import Path

import pytest

from raysample.cli import main
from raysample.cli.tables import outlook_table
from raysample.core.config import FineTuneConfig, load
from raysample.data.corpus import Corpus
from raysample.execution.local import LocalExecutor
from raysample.training import schedule_training
from raysample.workflow import Pipeline, RunContext
from raysample.workflow.plan import Estimate, Outlook, few, in_small, outlook
from tests.helpers.configs import write_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("planned"), small_run)


def test_the_command_tells_time_memory_and_cost(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["plan", str(config), "name=told", "--rows", "60", "--price", "2"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "what the run takes, by a miniature of 60 rows" in told
    assert "fine-tune 14 steps" in told
    assert "score 200 rows x 2 scores" in told
    assert "compare 7 retrainings" in told
    assert re.search(r"all [\d,]+\.\d\d worker-hours, cost [\d,]+\.\d\d", told)  # how much depends on the machine
    assert "a scoring worker holds 3 checkpoints of" in told
    space = config.parent / "runs/told"
    assert sorted(path.name for path in space.iterdir()) == ["corpus"]  # nothing is claimed, trained or scored
    assert main.main(["fine-tune", str(config), "name=told", "fine_tune.epochs=1"]) == 0


def test_the_cost_is_that_of_the_time_on_all_workers() -> None:
    steps = (Estimate("fine-tune", "work", 1_800.0, 1), Estimate("score", "work", 5_400.0, 4))
    found = Outlook(200, 60, 1.0, steps, checkpoints=3, checkpoint_bytes=1, actor_bytes=1, table_bytes=1)
    assert list(outlook_table(found, price=2.5).columns[1].cells)[-1] == "2.00 worker-hours, cost 5.00"
    assert list(outlook_table(found).columns[1].cells)[-1] == "2.00 worker-hours"


def test_estimates_grow_with_the_work_and_shrink_with_the_workers(config: Path, tmp_path: Path) -> None:
    given = load(str(config), [])
    corpora = Pipeline(given, RunContext(LocalExecutor())).corpora()
    train, test = corpora.train, corpora.test
    found = outlook(given, train, test, 4, str(tmp_path), rows=100)
    fine_tune, score, compare = found.steps
    assert [step.workers for step in found.steps] == [1, 4, 4]
    assert score.elapsed == score.seconds / 4
    # Three arms and the full data of the second seed; half of the rows take half of the steps.
    whole, half = schedule_training(200, given.fine_tune).steps, schedule_training(100, given.fine_tune).steps
    assert compare.seconds / fine_tune.seconds == pytest.approx((whole + 3 * 2 * half) / whole)
    assert 0 < score.seconds < 60
    assert found.checkpoints == 3
    assert found.actor_bytes > found.checkpoint_bytes > 10_000
    assert found.table_bytes > 200 * 10


def test_retrainings_at_equal_steps_are_counted(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = {}
    for regime in ("auto", "equal_epochs", "equal_steps"):
        options = ["compare.fractions=[0.3, 0.5]", f"compare.regime={regime}", f"name={regime}"]
        assert main.main(["plan", str(config), "--rows", "60", *options]) == 0
        told[regime] = " ".join(capsys.readouterr().out.split())
    # Three arms and two seeds; 0.3 of 200 rows take 4 steps, half of them 8, all of them 14. One seed is scored.
    assert f"compare 19 retrainings, {14 + 6 * (4 + 14 + 8)} steps" in told["auto"]
    assert f"compare 13 retrainings, {14 + 6 * (4 + 8)} steps" in told["equal_epochs"]
    assert f"compare 13 retrainings, {14 + 6 * (14 + 14)} steps" in told["equal_steps"]


def test_a_miniature_keeps_epochs_and_checkpoints(config: Path) -> None:
    recipe = in_small(FineTuneConfig(epochs=3, batch_size=64, checkpoint_every=500), rows=200, checkpoints=10)
    assert (recipe.epochs, recipe.checkpoints, recipe.checkpoint_every, recipe.batch_size) == (3, 10, None, 50)
    assert len(schedule_training(200, recipe).save_at) == 10
    few_steps = in_small(FineTuneConfig(epochs=1, batch_size=64), rows=100, checkpoints=10)
    assert len(schedule_training(100, few_steps).save_at) == few_steps.checkpoints == 4


def test_few_rows_are_of_the_corpus_and_as_many_as_asked_for(config: Path, tmp_path: Path) -> None:
    train = Corpus.load(str(config.parent / "runs/small/corpus/train"))
    some = few(train, 60, str(tmp_path / "some"))
    assert some.rows == 60
    ids = {row for shard in train.shards for row in train.read(shard.index)["row_id"].to_pylist()}
    mine = [row for shard in some.shards for row in some.read(shard.index)["row_id"].to_pylist()]
    assert len(set(mine)) == 60
    assert set(mine) <= ids
    assert few(train, 10_000, str(tmp_path / "all")).rows == train.rows
