from __future__ import annotations

import io

import pytest
from rich.console import Console

from raysample.core import progress
from raysample.core.progress import Reporter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def reporter(terminal: bool = False) -> tuple[Reporter, io.StringIO]:
    out = io.StringIO()
    return Reporter(Console(file=out, force_terminal=terminal, width=120)), out


def test_logs_get_plain_lines_with_rate_and_time_left_after_the_start_up(clock: list[float]) -> None:
    told, out = reporter()
    with told.bar("score", 100, "rows") as bar:
        clock[0] = 30.0  # half a minute until the first row
        bar.to(10)
        clock[0] = 35.0
        bar.to(30, "loss 0.5")
        clock[0] = 41.0
        bar.to(65)
    assert out.getvalue().splitlines() == [
        "  score: 10/100 rows (10%), time left unknown",
        "  score: 65/100 rows (65%), 5.0/s, 7 s left",
        "  score: done, 65 rows in 41.0 s",
    ]


def test_a_stopped_piece_of_work_says_so(clock: list[float]) -> None:
    told, out = reporter()

    def interrupted() -> None:
        with told.bar("score", 5, "rows") as bar:
            bar.to(2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "score: stopped, 2 rows" in out.getvalue()


def test_a_terminal_gets_a_live_bar() -> None:
    told, out = reporter(terminal=True)
    with told.bar("score", 5, "rows") as bar:
        bar.to(5, "all")
    assert "5/5" in out.getvalue()
    assert "all" in out.getvalue()
