"""Every seed of a comparison selects by scores of a run of its own, where there are several runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raysample.cli import main
from raysample.data.score_table import ScoreTable
from raysample.selection import Selection
from raysample.workflow.per_run_scores import blocks
from tests.helpers.configs import write_config

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("runs", "seeds", "expected"),
    [
        (2, 2, [[0], [1]]),
        (3, 2, [[0, 2], [1]]),
        (2, 5, [[0], [1]]),
        (5, 3, [[0, 3], [1, 4], [2]]),
        (1, 3, [[0]]),
    ],
)
def test_runs_are_dealt_out(runs: int, seeds: int, expected: list[list[int]]) -> None:
    assert blocks(runs, seeds) == expected


def told(folder: Path) -> list[str]:
    found: list[str] = json.loads((folder / "runs/small/comparison.json").read_text())["remarks"]
    return found


def test_every_seed_selects_by_its_own_run(small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(write_config(tmp_path, small_run, score={"scores": ["vog"], "runs": 2}))
    assert main.main(["run", config]) == 0
    assert "scores of run 1 alone" in capsys.readouterr().out
    space = tmp_path / "runs/small"
    whole = ScoreTable.load(str(space / "scores"))
    own = [ScoreTable.load(str(space / f"own-scores/run-{run}")) for run in (0, 1)]
    chosen = [Selection.load(str(space / f"selections/hard-vog~class-0.5-seed-{seed}")) for seed in (0, 1)]
    assert [one.scores for one in chosen] == [table.fingerprint for table in own]
    assert len({whole.fingerprint, *(table.fingerprint for table in own)}) == 3
    # The mean of both runs' scores is that of the whole table.
    means = sum(table.to_pandas()["vog"].astype(float) for table in own) / 2
    assert means.to_numpy() == pytest.approx(whole.to_pandas()["vog"].to_numpy(), rel=1e-5)
    assert told(tmp_path)[0].startswith("Every seed selected by scores of other runs (hard(vog|class))")

    assert main.main(["compare", config]) == 0
    assert "8 of 8 runs were finished before" in capsys.readouterr().out
    assert main.main(["compare", config, "compare.seeds=[0, 1, 2]"]) == 0
    assert told(tmp_path)[0].startswith("hard(vog|class) chose for 3 seeds by the scores of 2 runs in turn")
    assert main.main(["compare", config, "compare.own_scores=false"]) == 0
    assert told(tmp_path)[0].startswith("The selection was fixed: hard(vog|class)")
    fixed = [Selection.load(str(space / f"selections/hard-vog~class-0.5-seed-{seed}")) for seed in (0, 1)]
    assert {one.scores for one in fixed} == {whole.fingerprint}


def test_arms_without_scores_need_no_more_scoring(small_run: Path, tmp_path: Path) -> None:
    compare = {"seeds": [0, 1], "arms": []}
    config = str(write_config(tmp_path, small_run, score={"scores": ["vog"], "runs": 2}, compare=compare))
    assert main.main(["run", config]) == 0
    assert not (tmp_path / "runs/small/own-scores").exists()
    assert told(tmp_path) == []
