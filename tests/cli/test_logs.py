"""The log on the command line: compact, score what is new, sample, put scores on every row, apply."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from raysample.cli import main
from raysample.data.score_table import ScoreTable
from tests.helpers.configs import write_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tuned(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fine-tune, and write a log: the training rows, once on the first day, twice on the second."""
    folder = tmp_path_factory.mktemp("log")
    for day, copies in (("2026-01-01", 1), ("2026-01-02", 2)):
        for copy in range(copies):
            place = folder / "log" / f"date={day}" / f"part-{copy}.parquet"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(small_run / "train.parquet", place)
    log = {"source": {"path": str(folder / "log"), "columns": {"timestamp": "date"}}}
    arms = [{"policy": "hard", "score": "el2n", "copies": "all"}]
    changes = {"log": log, "sample": {"budget": 0.25}, "compare": {"arms": arms, "seeds": [0]}}
    config = write_config(folder, small_run, **changes)
    assert main.main(["fine-tune", str(config)]) == 0
    return config


def test_the_commands_on_a_log(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = tuned.parent / "runs/small"
    capsys.readouterr()
    assert main.main(["score", str(tuned), "--log", "log.window=1"]) == 0
    contents = ScoreTable.load(str(space / "log/scores")).counts["in"]
    assert f"{contents:,} of {contents:,} contents are new" in capsys.readouterr().out
    assert main.main(["compact", str(tuned)]) == 0
    told = capsys.readouterr().out
    assert "3 rows each" not in told
    assert "600" in told
    assert "1 new, 2 kept; all partitions" in told
    assert main.main(["score", str(tuned), "--log"]) == 0
    assert f"all {contents:,} contents were scored before" in capsys.readouterr().out
    table = ScoreTable.load(str(space / "log/scores"))
    assert table.to_pandas()["count"].sum() == 600
    assert (table.to_pandas()["count"] % 3 == 0).all()
    assert main.main(["sample", str(tuned), "--log"]) == 0
    told = capsys.readouterr().out
    assert f"of {contents:,} contents (25.0%)" in told
    assert "hard(el2n, copies=all)" in told
    assert main.main(["expand", str(tuned)]) == 0
    assert "600 rows with scores, 0 without" in capsys.readouterr().out
    selection = next((space / "log/selections").glob("hard*"))
    assert main.main(["apply", str(selection), str(space / "log/contents"), str(space / "pruned")]) == 0
    kept = pq.read_table(space / "pruned/part-00000.parquet").to_pandas()
    assert len(kept) == round(contents / 4)
    assert (kept["raysample_weight"] == kept["count"]).all()
    assert kept["first_seen"].min() == "2026-01-01"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["sample", "--log", "sample.budget=auto"], "set sample.budget to a share"),
        (["sample", "--log", "--dry-run"], "leave one of them out"),
        (["score", "--log", "score.economy={}"], "run `raysample score` on the training rows first"),
        (["compact", "log=null"], "add log: {source:"),
        (["expand", "name=other"], "run `raysample score --log` with this configuration first"),
    ],
)
def test_what_a_log_cannot_do_is_told(
    words: list[str], advice: str, tuned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main([words[0], str(tuned), *words[1:]]) == 2
    assert advice in capsys.readouterr().err
