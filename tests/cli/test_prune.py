"""`raysample prune` on the command line: a file in, a card of ten lines and the files out."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from raysample.cli import main
from tests.workflow.test_prune import rows_of


def test_a_file_becomes_a_card_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows_of(240).rename(columns={"text": "utterance", "label": "intent"}).to_csv(tmp_path / "rows.csv", index=False)
    command = ["prune", str(tmp_path / "rows.csv"), "--text", "utterance", "--label", "intent", "--keep", "0.25"]
    out = tmp_path / "out"
    assert main.main([*command, "--output", str(out)]) == 0
    shown = capsys.readouterr().out
    titles = ("data", "kept", "removed", "chosen", "gain", "guarantee", "all data", "suspects", "judged by", "cost")
    lines = [line for line in shown.splitlines() if line.startswith(titles)]
    assert len(lines) == len(titles)
    assert f"60 rows, 25%: {out}/kept.parquet" in lines[1]
    assert {path.name for path in out.iterdir()} >= {
        *("kept.parquet", "removed.parquet", "suspects.csv", "decision.json", "report.html"),
    }
    page = (out / "report.html").read_text()
    assert "stratified random" in page
    assert "<script" not in page
    assert not any(text in page for text in rows_of(240)["text"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--keep", "half"], "neither a share nor auto"),
        (["--keep", "1.2"], "cannot keep 1.2 of the rows"),
        (["--text", "words"], "words"),
        (["--encoder", "nowhere/at-all"], "nowhere/at-all"),
        (["--pilot"], "a pilot fine-tunes an encoder, and none is given"),
        (["--pilot", "--encoder", "x", "--keep", "auto"], "give the share, or --no-pilot"),
        (["--epochs", "0"], "epochs"),
    ],
)
def test_what_is_wrong_is_said_with_exit_code_2(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows_of(240).to_csv(tmp_path / "rows.csv", index=False)
    assert main.main(["prune", str(tmp_path / "rows.csv"), "--output", str(tmp_path / "out"), *options]) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["prune", str(tmp_path / "none.csv"), "--output", str(tmp_path / "out")]) == 2
    assert "none.csv" in capsys.readouterr().err


def test_a_decision_is_logged_where_mlflow_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows_of(240).to_csv(tmp_path / "rows.csv", index=False)
    database = tmp_path / "mlflow.db"
    command = ["prune", str(tmp_path / "rows.csv"), "--output", str(tmp_path / "out")]
    assert main.main([*command, "--tracking-uri", f"sqlite:///{database}"]) == 0
    assert "MLflow: mlflow ui" in capsys.readouterr().out
    with closing(sqlite3.connect(database)) as connection:
        runs = connection.execute("SELECT name, status FROM runs").fetchall()
        kept = connection.execute("SELECT value FROM latest_metrics WHERE key = 'prune_kept'").fetchall()
    assert runs == [("prune", "FINISHED")]
    assert kept == [(120.0,)]
