"""The benchmark of the race: cells with gaps on rows that the race never saw, and wins of random scores."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysample.core.config import ArmConfig
from raysample.selection.race import race
from tests.helpers.benchmark_scripts import assert_targets, imported, on_path  # noqa: F401 - a fixture
from tests.helpers.paths import BENCHMARKS
from tests.workflow.test_prune import CLEAN, rows_of


@pytest.fixture
def auto(on_path: None) -> ModuleType:  # noqa: F811
    return imported(BENCHMARKS / "auto.py")


def corpus_with_noise(folder: Path) -> None:
    rows, noisy = rows_of(1_300, noise=0.0), rows_of(1_300, noise=0.4)
    assert rows["text"].equals(noisy["text"])
    rows["split"] = ["train"] * 900 + ["test"] * 400
    pq.write_table(pa.Table.from_pandas(rows), folder / "themes.parquet")
    (folder / "noise").mkdir()
    wrong = pa.table({"id": rows["id"][:900], "sym40": noisy["label"][:900]})
    pq.write_table(wrong, folder / "noise" / "themes.noise.parquet")


def test_a_win_in_the_race_is_tested_on_clean_rows(
    auto: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race, "portfolio", lambda: (ArmConfig.model_validate(CLEAN),))
    corpus_with_noise(tmp_path)
    auto.main(["--quick", "--data", str(tmp_path), "--noise", "sym40", "--shares", "0.05", "--races", "0"])
    *shown, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    assert_targets(result["targets"])
    clean, noisy = result["cells"]
    assert (clean["corpus"], noisy["corpus"]) == ("themes", "themes, sym40")
    assert noisy["won"]
    assert "without" in noisy["chosen"]
    assert noisy["low"] < noisy["gap"] < noisy["high"]
    assert noisy["gap"] > 0
    assert any("themes, sym40" in line for line in shown)


def test_without_data_traffic_is_simulated_and_random_scores_are_counted(
    auto: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert auto.main(["--quick", "--rows", "600", "--shares", "0.5", "--races", "2"]) in (0, 1)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["cells"][0]["corpus"] == "simulated traffic"
    assert result["false_wins"]["races"] == 2
    assert 0 <= result["false_wins"]["lower"] <= result["false_wins"]["rate"] <= result["false_wins"]["upper"] <= 1


def test_rows_are_made_with_copies_and_wrong_labels(auto: ModuleType) -> None:
    rows = auto.made_rows(2_000, 0.4, 4, 0)
    assert len(rows) == pytest.approx(2_000 * (1 + 3 * 0.2), rel=0.05)
    clusters = np.unique(rows.cluster, return_counts=True)[1]
    assert set(clusters) == {1, 4}
    truth = rows.vectors[:, :4].astype(np.float32).argmax(1)
    assert np.mean(truth != rows.labels) == pytest.approx(0.3, abs=0.05)


def test_corpora_are_cut_by_seed_to_frequent_classes(auto: ModuleType) -> None:
    labels = ["a"] * 50 + ["b"] * 40 + ["rare"] * 3 + [None] * 7
    rows = pa.table(
        {"id": [str(i) for i in range(100)], "text": ["t"] * 100, "label": labels, "split": ["train", "test"] * 50}
    )
    found = auto.cut("x", rows, 30)
    assert len(found.train) <= 30
    assert set(found.train["label"].to_pylist()) == set(found.test["label"].to_pylist()) == {"a", "b"}
    assert found.train.equals(auto.cut("x", rows, 30).train)
