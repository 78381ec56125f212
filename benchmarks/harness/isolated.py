"""Measuring in a process of its own, so that its peak memory is its own, and while something runs."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

from harness.outcome import Figures

T = TypeVar("T")


def run_isolated(method: Callable[..., Figures], limit: float, *arguments: Any) -> Figures:
    """Run a method in a process of its own; return its figures and its peak memory, or `failed` with the reason."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, method, *arguments))
    process.start()
    sender.close()
    try:
        figures: Figures = receiver.recv() if receiver.poll(limit) else {"failed": f"not through in {limit:g} s"}
    except EOFError:
        figures = {"failed": "its process died (out of memory?)"}
    process.kill()
    process.join()
    return figures


def _child(sender: Any, method: Callable[..., Figures], *arguments: Any) -> None:
    before = peak_mib()
    sender.send({**method(*arguments), "peak_mib": peak_mib(), "imports_mib": before})


def peak_mib() -> float:
    """Return this process's peak memory; on Linux `getrusage` includes the parent's, so /proc is read there."""
    peak = _peak("self")
    if peak is not None:
        return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _peak(process: int | str) -> float | None:
    """Return a process's peak memory in MiB; None if it has ended, or beside Linux."""
    try:
        return int(Path(f"/proc/{process}/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        return None


@contextmanager
def sampled(look: Callable[[], T], every: float) -> Iterator[list[T]]:
    """Yield a list that grows by what `look` returns, each time after so many seconds."""
    found, stop = list[T](), threading.Event()

    def watch() -> None:
        """Look again and again until the end."""
        while not stop.wait(every):
            found.append(look())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def peaks_below(name: str) -> list[float]:
    """Return the peak memory, in MiB, of each of this process's descendants whose command begins with `name` (Linux).

    Only descendants count: other clusters may run on the same machine.
    """
    peaks = list[float]()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error, IndexError):  # the process has ended
            if process.cmdline()[0].startswith(name) and (peak := _peak(process.pid)) is not None:
                peaks.append(peak)
    return peaks
