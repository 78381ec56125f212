"""Ctrl-C, and SIGTERM as Ctrl-C: everything unwinds, and the process ends with the code of its signal.

Schedulers, `kill` and `ray job stop` send SIGTERM. Without a handler Python dies of it at once, and Ray's own writes a
native stack trace. Here it is an exception like Ctrl-C, so that runs are ended as KILLED and locks are given back.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []
_depth: list[bool] = []


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end."""


@contextmanager
def watch_signals() -> Iterator[None]:
    """Make exceptions of SIGINT and SIGTERM meanwhile. A SIGINT that is ignored, as in a shell's `&`, stays so.

    In other threads than the main one nothing is changed: Python handles signals there alone.
    """
    if threading.current_thread() is not threading.main_thread() or _depth:
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _received.clear()
    _depth.append(True)
    try:
        for number, handler in before.items():
            if handler != signal.SIG_IGN or number == signal.SIGTERM:
                signal.signal(number, _interrupt)
        yield
    finally:
        _depth.clear()
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def active() -> bool:
    """Tell whether signals are watched."""
    return bool(_depth)


def again() -> None:
    """Watch again, where a library has put its own handlers in place of ours."""
    if active() and threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _interrupt)


def received() -> bool:
    """Tell whether a signal came."""
    return bool(_received)


def exit_code() -> int:
    """Return the code that shells know: 128 and the number of the first signal; SIGINT's if none came."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del frame
    _received.append(number)
    raise Interrupted(signal.Signals(number).name)
