"""`sample --dry-run`, `explain` and `apply`, from the command line, on a run of its own."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysample.cli import main
from raysample.core import storage
from raysample.core.config import ArmConfig, SampleConfig, SourceConfig
from raysample.core.errors import ProvenanceError, SelectionError, StorageError
from raysample.data.corpus import Corpus, describe_source
from raysample.data.score_table import ScoreTable
from raysample.evaluation import FULL
from raysample.evaluation.arm_summary import RunResult, summarise
from raysample.evaluation.comparison import Comparison
from raysample.selection import Selection, apply, explain_row, write_selection
from raysample.workflow import RunFolder
from raysample.workflow.budgets import arm_budgets
from tests.helpers.configs import small_corpus, write_config

pytestmark = pytest.mark.slow

ARMS = [
    {"policy": "hard", "score": "vog", "normalise": "class"},
    {"policy": "explore", "score": "el2n", "share": 0.4},
    {"policy": "window", "score": "vog", "start": 0.2, "min_per_class": 8},
    {"policy": "easy", "score": "vog", "cap_per_group": 20},
]


@pytest.fixture(scope="module")
def sampled(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sampled")
    source = folder / "source"
    for number, day in enumerate(("2026-01-01", "2026-01-02")):
        part = source / f"date={day}" / "log.parquet"
        part.parent.mkdir(parents=True)
        rows = pq.read_table(small_run / "train.parquet").slice(100 * number, 100)
        speaker = pa.array([None if i % 10 == 9 else f"speaker {i % 10 // 2}" for i in range(len(rows))])
        extra = pa.array(range(len(rows)))
        pq.write_table(rows.append_column("extra", extra).append_column("speaker", speaker), part)
    corpus = small_corpus(small_run, train={"path": str(source), "columns": {"id": "id", "group": "speaker"}})
    config = str(write_config(folder, small_run, corpus=corpus, compare={"seeds": [0], "arms": ARMS}))
    for verb in ("fine-tune", "score"):
        assert main.main([verb, config]) == 0
    assert main.main(["sample", config, "--dry-run"]) == 0
    assert not (folder / "runs/small/selections").exists()
    assert main.main(["sample", config]) == 0
    return folder


def selections(sampled: Path) -> dict[str, Selection]:
    found = [Selection.load(str(folder)) for folder in (sampled / "runs/small/selections").iterdir()]
    return {selection.arm["policy"]: selection for selection in found}


def test_a_dry_run_tells_classes_and_lengths(
    sampled: Path, small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(sampled / "config.yaml")
    before = sorted(str(path) for path in (sampled / "runs").rglob("*"))
    assert main.main(["sample", config, "compare.fractions=[0.3]", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "hard(vog|class) at 30%" in told
    assert "tokens" in told
    assert "group speaker 0" in told
    assert "class shift" in told
    assert "dry run: nothing was written" in told
    assert sorted(str(path) for path in (sampled / "runs").rglob("*")) == before


def test_a_budget_of_tokens_or_rows(sampled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(sampled / "config.yaml")
    assert main.main(["sample", config, "sample.budget={tokens: 500}"]) == 0
    told = capsys.readouterr().out
    assert "hard(vog|class): " in told
    folders = [path for path in (sampled / "runs/small/selections").iterdir() if "500-tokens" in path.name]
    assert len(folders) == 2 + len(ARMS)
    table = ScoreTable.load(str(sampled / "runs/small/scores")).to_pandas()
    for folder in folders:
        kept = Selection.load(str(folder)).to_pandas()["decision"].eq("kept")
        assert 400 < table["tokens"][kept].sum() <= 500
        shutil.rmtree(folder)
    assert main.main(["sample", config, "sample.budget=120", "--dry-run"]) == 0
    assert "hard(vog|class): 120 of 200 rows (60.0%)" in capsys.readouterr().out
    assert main.main(["sample", config, "sample.budget=1"]) == 2
    assert "sample.budget" in capsys.readouterr().err


def test_a_budget_that_the_comparison_recommends(tmp_path: Path) -> None:
    config, folder = SampleConfig(budget="auto", tolerance=0.02), RunFolder(str(tmp_path))
    hard = ArmConfig(policy="hard", score="vog", normalise="class")
    with pytest.raises(StorageError, match=r"comparison\.json' does not exist"):
        list(arm_budgets(config, [hard], folder))

    def run(arm: str, fraction: float) -> RunResult:
        metrics = {"accuracy": 0.3, "macro_f1": 0.3, "worst_class_recall": 0.0}
        chosen = {"accuracy": 0.9 - 0.5 * math.exp(-5 * fraction)}
        return RunResult(arm, fraction, 0, round(200 * fraction), 9, metrics, (0.3,), chosen)

    runs = (run(FULL, 1.0), *(run("hard(vog|class)", fraction) for fraction in (0.2, 0.4, 0.6, 0.8)))
    comparison = Comparison(("a",), (200,), {}, runs, summarise(runs), 0.95, "equal_epochs")
    Path(folder.comparison).write_text(json.dumps(comparison.to_dict()))
    (found,) = arm_budgets(config, [ArmConfig(policy="random"), hard], folder)
    assert found.arm == hard
    assert found.budget["fraction"] == pytest.approx(0.613, abs=0.005)  # 0.5 exp(-5 f) - 0.5 exp(-5) = 0.02
    assert found.why.endswith("of accuracy on validation, 2.00% are allowed")


def test_a_share_is_not_chosen_without_validation_rows(sampled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(sampled / "config.yaml")
    for argv in (["sample", config, "sample.budget=auto"], ["recommend", config]):
        assert main.main(argv) == 2
        assert "set corpus.validation, such as 0.1" in capsys.readouterr().err


def test_explain_tells_why(sampled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hard = selections(sampled)["hard"]
    frame = hard.to_pandas().sort_values("key", ascending=False)
    first = frame.iloc[0]
    assert main.main(["explain", first["row_id"], hard.uri]) == 0
    told = capsys.readouterr().out
    assert f"row {first['row_id']!r} of class {first['class']!r} was kept by hard(vog|class), seed 0" in told
    assert "place: 1 of the 200 rows" in told
    assert "chance to be kept, over seeds: 1; weight in training: 1" in told
    last = explain_row(hard, frame.iloc[-1]["row_id"])
    assert "was pruned" in last
    assert "< threshold" in last
    assert "weight in training: 0" in last


def test_explain_names_the_step_that_decided(sampled: Path) -> None:
    window = selections(sampled)["window"]
    frame = window.to_pandas()
    dropped = frame[frame["reason"].str.contains("the hardest 0.2")]
    assert len(dropped) == 40
    assert "why: the hardest 0.2: key" in explain_row(window, dropped["row_id"].iloc[0])
    drawn = selections(sampled)["explore"].to_pandas().query("decision == 'kept' and keep_probability < 1").iloc[0]
    assert "chance to be kept, over seeds: 0.375" in explain_row(selections(sampled)["explore"], drawn["row_id"])


def test_a_cap_keeps_a_few_rows_of_every_group(sampled: Path) -> None:
    easy, table = selections(sampled)["easy"], ScoreTable.load(str(sampled / "runs/small/scores"))
    scores, frame = table.to_pandas(), easy.to_pandas()
    assert list(scores.columns[:6]) == ["row_id", "label", "class", "tokens", "group", "vog"]
    mine = scores["group"].eq("speaker 2")
    assert mine.sum() == 40
    pruned = frame["reason"].str.contains("at most 20 of a group: not one of the first of its group")
    assert pruned.sum() == 4 * 20
    assert (pruned & mine).sum() == 20
    assert scores["vog"][pruned & mine].min() >= scores["vog"][~pruned & mine].max()
    assert "at most 20 of a group" in explain_row(easy, frame["row_id"][pruned].iloc[0])


def test_groups_are_asked_for_before_anything_is_computed(sampled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(sampled / "config.yaml")
    assert main.main(["sample", config, "corpus.train.columns.group=null", "name=other"]) == 2
    assert "goes by groups, and corpus.train names no column of groups" in capsys.readouterr().err


def test_explain_knows_when_a_row_is_not_there(sampled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["explain", "nobody", selections(sampled)["hard"].uri]) == 2
    assert "has no row 'nobody'" in capsys.readouterr().err


def test_apply_keeps_partitions_and_columns(sampled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hard, out = selections(sampled)["hard"], tmp_path / "pruned"
    assert main.main(["apply", hard.uri, str(sampled / "runs/small/corpus/train"), str(out)]) == 0
    assert "100 rows in 2 files" in capsys.readouterr().out
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*.parquet"))
    assert files == ["date=2026-01-01/log.parquet", "date=2026-01-02/log.parquet"]
    kept = pa.concat_tables([pq.ParquetFile(out / file).read() for file in files])
    source = sampled / "source"
    whole = pa.concat_tables([pq.ParquetFile(source / file).read() for file in files])
    wanted = set(hard.kept_ids().to_pylist())
    assert kept.column_names == whole.column_names
    assert kept.to_pylist() == [row for row in whole.to_pylist() if row["id"] in wanted]
    manifest = json.loads((out / "pruned.json").read_text())
    assert (manifest["fingerprint"], manifest["rows"], manifest["files"]) == (hard.fingerprint, 100, files)


def test_apply_writes_weights_and_dataset_folders(sampled: Path, tmp_path: Path) -> None:
    explore, out = selections(sampled)["explore"], tmp_path / "pruned"
    corpus = str(sampled / "runs/small/corpus/train")
    assert main.main(["apply", explore.uri, corpus, str(out), "--format", "datasets"]) == 0
    rows = datasets.load_from_disk(str(out))
    frame = explore.to_pandas().set_index("row_id")
    assert len(rows) == 100
    assert rows["raysample_weight"] == pytest.approx(frame["weight"][list(rows["id"])].tolist())
    assert set(rows.column_names) == {"id", "text", "label", "extra", "speaker", "raysample_weight"}


def test_apply_takes_a_copy_and_refuses_other_rows(sampled: Path, tmp_path: Path) -> None:
    hard, corpus = selections(sampled)["hard"], Corpus.load(str(sampled / "runs/small/corpus/train"))
    copy = tmp_path / "copy"
    shutil.copytree(sampled / "source", copy)
    made = apply(hard, corpus.at(str(copy)), str(tmp_path / "one"))
    assert made.rows == 100
    again = describe_source(SourceConfig(path=str(copy), columns=corpus.source.columns), str(tmp_path / "described"))
    assert apply(hard, again, str(tmp_path / "two")).rows == 100
    file = copy / "date=2026-01-02/log.parquet"
    rows = pq.ParquetFile(file).read()
    pq.write_table(rows.set_column(1, "text", pa.array(["changed"] * len(rows))), file)
    with pytest.raises(ProvenanceError, match="changed since"):
        apply(hard, corpus.at(str(copy)), str(tmp_path / "three"))
    assert not storage.exists(str(tmp_path / "three/pruned.json"))
    with pytest.raises(SelectionError, match="something at"):
        apply(hard, corpus, str(tmp_path / "one"))


def test_the_manifest_and_the_kept_rows_are_all_that_travels(sampled: Path, tmp_path: Path) -> None:
    explore, there = selections(sampled)["explore"], tmp_path / "there"
    there.mkdir()
    shutil.copy(Path(explore.uri, "selection.json"), there)
    shutil.copytree(Path(explore.uri, "kept.parquet"), there / "kept.parquet")
    kept = pq.read_table(there / "kept.parquet")
    frame = explore.to_pandas().query("decision == 'kept'")
    assert kept["row_id"].to_pylist() == frame["row_id"].tolist()
    assert kept["weight"].to_pylist() == frame["weight"].tolist()
    corpus = Corpus.load(str(sampled / "runs/small/corpus/train"))
    assert apply(Selection.load(str(there)), corpus, str(tmp_path / "out")).rows == 100


def test_apply_refuses_another_corpus(sampled: Path, small_run: Path, tmp_path: Path) -> None:
    other = describe_source(SourceConfig(path=str(small_run / "test.parquet")), str(tmp_path / "other"))
    with pytest.raises(ProvenanceError, match="another corpus"):
        apply(selections(sampled)["hard"], other, str(tmp_path / "out"))


def test_the_verb_takes_options_and_limits(sampled: Path, tmp_path: Path) -> None:
    import raysample

    table = ScoreTable.load(str(sampled / "runs/small/scores"))
    made = raysample.sample(table, "softmax", "vog", fraction=0.25, temperature=0.5, min_per_class=9, seed=3)
    assert made.name == "softmax(vog, temperature=0.5, min_per_class=9)"
    assert min(made.kept_class_counts) >= 9
    assert (
        write_selection(
            table, raysample.core.config.ArmConfig(**made.arm), str(tmp_path / "o"), fraction=0.25, seed=3
        ).digest
        == made.digest
    )
