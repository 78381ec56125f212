"""SIGTERM ends a command as Ctrl-C does, with the code of its signal, and runs in MLflow end as KILLED."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from raysample.cli import commands, main
from raysample.core import interruption
from raysample.core.errors import TrainingError


def be_stopped() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()


def leave() -> None:
    raise SystemExit(15)


def fail() -> None:
    raise TrainingError("a worker died", "look at its log")


def break_down() -> None:
    raise RuntimeError("connection lost")


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "c.yaml").write_text("engine: {kind: local}\n")
    return str(tmp_path / "c.yaml")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("then", [signal.pause, leave, fail, break_down])
def test_whatever_a_signal_makes_of_a_command_its_code_is_the_signals(
    number: signal.Signals,
    code: int,
    then: Any,
    config: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(signal, "SIG_IGN", None)  # in a background job, SIGINT would stay ignored
    unwound = list[bool]()

    def work(**_: object) -> None:
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        except KeyboardInterrupt:
            unwound.append(True)
            if then is signal.pause:
                raise
            then()

    monkeypatch.setattr(commands, "run_fine_tune", work, raising=False)
    before = [signal.getsignal(one) for one in interruption.SIGNALS]
    assert main.main(["fine-tune", config]) == code
    assert unwound == [True]
    assert "what was finished is kept" in capsys.readouterr().err
    assert [signal.getsignal(one) for one in interruption.SIGNALS] == before


def test_a_command_that_leaves_by_itself_was_interrupted_by_a_librarys_handler(
    config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "run_fine_tune", lambda **_: leave(), raising=False)
    assert main.main(["fine-tune", config]) == 130


def test_handlers_that_a_library_has_put_in_place_of_ours_are_put_back() -> None:
    with interruption.watch_signals():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        interruption.again()
        with pytest.raises(interruption.Interrupted, match="SIGTERM"):
            be_stopped()
    assert interruption.exit_code() == 143
    assert not interruption.active()


def test_other_threads_change_nothing() -> None:
    seen = list[bool]()

    def other() -> None:
        with interruption.watch_signals():
            seen.append(interruption.active())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(60)
    assert seen == [False]
