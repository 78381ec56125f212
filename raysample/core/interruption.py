"""SIGINT and SIGTERM as exceptions: everything unwinds, and the process ends with the exit code of its signal.

Schedulers, `kill` and `ray job stop` send SIGTERM. Without a handler Python dies of it at once, and Ray's handler
writes a native stack trace. As an exception like Ctrl-C it lets runs end as KILLED and locks be released.
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
    """Raise exceptions for SIGINT and SIGTERM in the block. An ignored SIGINT, as in a shell's `&`, stays ignored.

    Does nothing in other threads than the main one: Python handles signals only there.
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
    """Return whether signals are watched."""
    return bool(_depth)


def again() -> None:
    """Install the handlers again, after a library has replaced them by its own."""
    if active() and threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _interrupt)


def received() -> bool:
    """Return whether a signal was received."""
    return bool(_received)


def exit_code() -> int:
    """Return the exit code for shells: 128 plus the number of the first signal; SIGINT's if none was received."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Record the signal and raise Interrupted."""
    del frame
    _received.append(number)
    raise Interrupted(signal.Signals(number).name)
