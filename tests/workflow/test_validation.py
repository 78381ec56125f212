"""A run with `corpus.validation`: what chooses sees the validation rows alone, and the test judges at the end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysample.cli import main
from raysample.core.config import RunConfig
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.corpus.near_texts import near_text_hashes
from raysample.evaluation.comparison import Comparison
from raysample.evaluation.keep_curve import recommend
from raysample.execution.local import LocalExecutor
from raysample.workflow import Pipeline, RunContext
from tests.helpers.configs import small_corpus, write_config

pytestmark = pytest.mark.slow

KNOWN = 15

COMPARED = {
    "fractions": [0.3, 0.5, 0.7],
    "seeds": [0],
    "arms": [{"policy": "hard", "score": "el2n"}],
    "regime": "equal_epochs",
}


def config_with(folder: Path, small_run: Path, test: Path) -> Path:
    """Write the configuration of a run with a validation part and this test file."""
    folder.mkdir(exist_ok=True)
    corpus = small_corpus(small_run, test={"path": str(test)}, validation=0.25)
    return write_config(folder, small_run, corpus=corpus, compare=COMPARED, score={"scores": ["el2n"]})


@pytest.fixture(scope="module")
def finished(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make two runs that differ in the labels of the test rows alone."""
    folder = tmp_path_factory.mktemp("validation")
    rows = pq.read_table(small_run / "test.parquet").to_pylist()
    # Copies of rows that train or choose, in other letters: they are not new.
    known = pq.read_table(small_run / "train.parquet").to_pylist()[:KNOWN]
    rows += [{**row, "id": f"copy-{row['id']}", "text": f"{row['text'].upper()}!"} for row in known]
    classes = sorted({row["label"] for row in rows})
    wrong = [{**row, "label": classes[(classes.index(row["label"]) + 1) % len(classes)]} for row in rows]
    for name, tested in (("one", rows), ("other", wrong)):
        pq.write_table(pa.Table.from_pylist(tested), folder / f"{name}.parquet")
        assert main.main(["run", str(config_with(folder / name, small_run, folder / f"{name}.parquet"))]) == 0
    return folder / "one", folder / "other"


def comparison_of(folder: Path) -> Comparison:
    """Return the comparison of a run."""
    return Comparison.load(str(folder / "runs/small/comparison.json"))


def test_training_and_validation_are_the_rows_of_the_source(finished: tuple[Path, Path]) -> None:
    run = finished[0] / "runs/small"
    train, chooses = (Corpus.load(str(run / "corpus" / name)) for name in ("train", "validation"))
    assert train.rows + chooses.rows == 200
    assert 20 < chooses.rows < 80
    assert chooses.labels == train.labels
    table = json.loads((run / "scores/scores.json").read_text())
    assert table["counts"]["in"] == train.rows
    assert {one.kept for one in comparison_of(finished[0]).runs if one.arm == "full"} == {train.rows}


def test_the_recommendation_does_not_know_the_test_labels(finished: tuple[Path, Path]) -> None:
    one, other = map(comparison_of, finished)
    assert repr(recommend(one.runs, 0.05)) == repr(recommend(other.runs, 0.05))  # NaN for one seed
    assert [run.validation for run in one.runs] == [run.validation for run in other.runs]
    assert [run.metrics["accuracy"] for run in one.runs] != [run.metrics["accuracy"] for run in other.runs]


def test_the_budget_auto_is_that_of_recommend(finished: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    config = str(finished[0] / "config.yaml")
    assert main.main(["recommend", config, "--tolerance", "0.05"]) == 0
    assert "of accuracy on validation" in " ".join(capsys.readouterr().out.split())
    assert main.main(["sample", config, "sample.budget=auto", "sample.tolerance=0.05", "--dry-run"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    rows = Corpus.load(str(finished[0] / "runs/small/corpus/train")).rows
    for found in recommend(comparison_of(finished[0]).runs, 0.05):
        assert f"{found.arm}: {round(found.fraction * rows)} of {rows} rows" in told


def test_the_headline_is_on_the_new_texts(finished: tuple[Path, Path]) -> None:
    found, run = comparison_of(finished[0]), finished[0] / "runs/small"
    assert found.new_texts is not None
    assert (found.new_texts.rows, found.new_texts.test_rows) == (60, 60 + KNOWN)
    predictions = pq.read_table(run / "checkpoints/seed-0/predictions.parquet")
    assert predictions["in_new_text"].to_pylist() == [True] * 60 + [False] * KNOWN
    overlap = json.loads((run / "corpus/overlap.json").read_text())
    assert (overlap["test_rows"], overlap["near_test_rows"]) == (0, KNOWN)
    page = (run / "report.html").read_text()
    assert page.index("Test results on new texts (60 of 75 test rows)") < page.index("Test results on all test rows")
    right = np.array(predictions["gold"]) == np.array(predictions["predicted"])
    (full,) = (one for one in found.headline().summaries if one.arm == "full")
    assert full.accuracy[0] == pytest.approx(right[:60].mean())


def test_before_the_comparison_only_validation_is_told(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(config_with(tmp_path, small_run, small_run / "test.parquet"))
    assert main.main(["fine-tune", config]) == 0
    told = capsys.readouterr().out
    assert "  validation: " in told
    assert "validation accuracy " in told
    assert "test accuracy" not in told
    run = tmp_path / "runs/small/checkpoints/seed-0"
    stored = json.loads((run / "evaluation.json").read_text())
    assert CheckpointSet.load(str(run)).metrics == stored["validation"]["metrics"]
    assert main.main(["fine-tune", config, "corpus.validation=0.3"]) == 2
    assert "corpus.validation was 0.25 and is 0.3 now" in capsys.readouterr().err


def test_every_kind_of_corpus_can_have_a_validation_part(small_run: Path, tmp_path: Path) -> None:
    train = {"path": str(small_run / "train.parquet"), "columns": {"id": "id"}}
    kinds = {
        "holdout": {"train": train, "holdout": 0.2, "validation": 0.3},
        "simulated": {"simulated": {"rows": 500, "test_rows": 200}, "validation": 0.2},
    }
    for name, section in kinds.items():
        config = RunConfig.model_validate({"name": name, "output": str(tmp_path), "corpus": section})
        corpora = Pipeline(config, RunContext(LocalExecutor())).corpora()
        chooses = corpora.validation
        assert chooses is not None
        assert list(corpora.named()) == ["train", "validation", "test"]
        assert corpora.train.labels == chooses.labels == corpora.test.labels
        near = [set(near_text_hashes(corpus.table()).tolist()) for corpus in corpora.named().values()]
        assert not near[0] & near[1]
        inside = corpora.train.rows + chooses.rows
        if name == "holdout":
            assert not near[2] & (near[0] | near[1])
            inside += corpora.test.rows
        assert inside == corpora.train.counts["in"] - corpora.train.counts["quarantined"]


def test_a_run_goes_on_where_either_side_lacks_a_class(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_with(tmp_path, small_run, small_run / "test.parquet")
    assert main.main(["fine-tune", str(config)]) == 0
    rows = pq.read_table(small_run / "train.parquet").to_pylist()
    chooses = set(Corpus.load(str(tmp_path / "runs/small/corpus/validation")).table()["row_id"].to_pylist())
    inside, outside = ([row for row in rows if (row["id"] in chooses) == side] for side in (True, False))
    inside[0]["label"], outside[0]["label"] = "only validation", "only training"
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    capsys.readouterr()
    changes = [f"corpus.train.path={tmp_path / 'rows.parquet'}", "name=other", "fine_tune.class_weights=balanced"]
    for command in ("fine-tune", "score", "sample"):
        assert main.main([command, str(config), *changes]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "training has no row of 1 of 5 classes (only validation)" in told
    assert "the validation part has no row of 1 of 5 classes (only training)" in told
