"""A scoring tells how far it is: lines or a bar in rows, and metrics whose step is the number of settled rows."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console

from raysample.core import progress
from raysample.core.config import ModelConfig, ScoreConfig
from raysample.core.progress import Reporter
from raysample.execution.local import LocalExecutor
from raysample.influence.shards import ShardOutcome
from raysample.testing import tiny_checkpoints
from raysample.tracking import MemoryTracker
from raysample.workflow import RunContext, ScoreRequest, missing_shards
from raysample.workflow.score import score_corpus
from tests.helpers.corpora import tiny_corpus

pytestmark = pytest.mark.slow


@dataclass
class Steps(MemoryTracker):
    """Keeps every step of the metrics."""

    steps: list[tuple[int | None, dict[str, float]]] = field(default_factory=list)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.steps.append((step, dict(values)))


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing_shards, "METRICS_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LINE_EVERY_SECONDS", 0.0)


@pytest.mark.usefixtures("often")
def test_metrics_and_lines_come_while_shards_end(tmp_path: Path) -> None:
    tracker, out = Steps(), io.StringIO()
    trace, corpus = tiny_checkpoints(tmp_path / "run", 2), tiny_corpus(tmp_path, 50, shard_rows=20)
    told = Reporter(Console(file=out, width=200))
    config, model = ScoreConfig(scores=["el2n"]), ModelConfig(max_length=16)
    request = ScoreRequest([trace], config, model, str(tmp_path / "scores"))
    score_corpus(request, corpus, RunContext(LocalExecutor(), told, tracker))
    steps = [step for step, _ in tracker.steps]
    assert steps == [shard.rows + sum(s.rows for s in corpus.shards[:i]) for i, shard in enumerate(corpus.shards)] + [
        50
    ]
    assert [values["scored_rows"] for _, values in tracker.steps] == steps
    assert {values["quarantined_rows"] for _, values in tracker.steps} == {0}
    assert all(values["rows_per_second"] > 0 for _, values in tracker.steps[1:])
    lines = [line for line in out.getvalue().splitlines() if line.startswith("  score: ")]
    assert "/50 rows (" in lines[1]
    assert "s left" in lines[1]
    assert lines[-1].startswith("  score: done, 50 rows in")
    part = next((tmp_path / "scores").rglob("part-*.parquet"))
    rows = next(s.rows for s in corpus.shards if s.name in part.name)
    part.unlink()
    tracker.steps.clear()
    score_corpus(request, corpus, RunContext(LocalExecutor(), told, tracker))
    assert [(step, values["scored_rows"]) for step, values in tracker.steps] == [(50, 50), (50, 50)]
    assert f"score: done, {rows} rows in" in out.getvalue().splitlines()[-1]


class Shown:
    """A bar that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str]] = []

    def to(self, done: float, note: str = "") -> None:
        self.told.append((done, note))


def test_what_goes_wrong_is_counted_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    now, bar, tracker = [0.0], Shown(), Steps()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    before = [ShardOutcome(0, 100, 98, 2, 1.0)]
    counting = missing_shards.ScoringProgress(bar, tracker, before)
    for at, outcome in (
        (4.0, ShardOutcome(1, 50, 50, 0, 1.0)),
        (6.0, ShardOutcome(2, 50, 49, 1, 1.0, crashes=2)),
        (11.0, ShardOutcome(3, 50, 50, 0, 1.0)),
        (12.0, ShardOutcome(4, 50, 50, 0, 1.0, crashes=1)),
    ):
        now[0] = at
        counting.add(outcome)
    assert bar.told == [
        (50, "2 rows set aside"),
        (100, "3 rows set aside, 2 workers crashed"),
        (150, "3 rows set aside, 2 workers crashed"),
        (200, "3 rows set aside, 3 workers crashed"),
    ]
    assert [step for step, _ in tracker.steps] == [250]  # after ten seconds
    counting.tell()
    step, values = tracker.steps[-1]
    assert step == 300
    assert values == {"scored_rows": 297, "quarantined_rows": 3, "worker_crashes": 3, "rows_per_second": 150 / 8}


@contextmanager
def terminal() -> Iterator[tuple[Reporter, io.StringIO]]:
    out = io.StringIO()
    yield Reporter(Console(file=out, force_terminal=True, width=140)), out


def test_a_terminal_shows_share_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = progress.Pace()
    assert pace.rate == 0
    with terminal() as (told, out), told.bar("score", 200, "rows") as bar:
        bar.to(50)
        bar.to(100, "3 rows set aside")
    assert "100/200" in out.getvalue()
    assert "50%" in out.getvalue()
    assert "3 rows set aside" in out.getvalue()
    assert "/s" in out.getvalue()
