"""`raysample recommend` on a comparison's figures."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from raysample.cli import main
from raysample.evaluation import FULL
from raysample.evaluation.arm_summary import RunResult, summarise
from raysample.evaluation.comparison import Comparison
from tests.helpers.configs import small_corpus, write_config

pytestmark = pytest.mark.slow


def test_the_command_reads_a_comparison(small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(arm: str, fraction: float, seed: int) -> RunResult:
        chosen = {"accuracy": 0.9 - 0.5 * math.exp(-5 * fraction) + 0.001 * seed}
        metrics = {"accuracy": 0.3, "macro_f1": 0.3, "worst_class_recall": 0.0}
        return RunResult(arm, fraction, seed, round(200 * fraction), 9, metrics, (0.3,), chosen)

    cells = [(FULL, 1.0), *(("hard(vog|class)", fraction) for fraction in (0.2, 0.4, 0.6, 0.8))]
    runs = tuple(run(arm, fraction, seed) for arm, fraction in cells for seed in (0, 1))
    comparison = Comparison(("a",), (200,), {}, runs, summarise(runs), 0.95, "equal_epochs")
    config = write_config(tmp_path, small_run, corpus=small_corpus(small_run, validation=0.2))
    folder = tmp_path / "runs/small"
    folder.mkdir(parents=True)
    (folder / "comparison.json").write_text(json.dumps(comparison.to_dict()))
    assert main.main(["recommend", str(config), "--tolerance", "0.02"]) == 0
    told = capsys.readouterr().out
    row = next(line for line in told.splitlines() if "hard(vog|class)" in line)
    assert row.split()[1] == "61%"  # 0.5 exp(-5 f) - 0.5 exp(-5) = 0.02 at f = 0.613
    assert "at most 2.0% of accuracy" in told
    assert main.main(["recommend", str(config), "sample.tolerance=0.02"]) == 0
    assert "61%" in capsys.readouterr().out
    assert main.main(["recommend", str(config), "--tolerance", "2"]) == 2
    assert "give a loss of accuracy in (0, 1)" in capsys.readouterr().err
