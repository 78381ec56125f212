"""Measuring in a process of its own, so that its peak memory is its own."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

Figures = dict[str, Any]


def run_isolated(method: Callable[..., Figures], limit: float, *arguments: Any) -> Figures:
    """Run a method in a process of its own; return its figures, peak memory, or why there are none."""
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
    figures = method(*arguments)
    sender.send({**figures, "peak_mib": peak_mib(), "imports_mib": before})


def peak_mib() -> float:
    """Return this process's peak memory; Linux counts its parent's in `getrusage`, so it is read elsewhere there."""
    found = _peak(Path("/proc/self/status"))
    if found is not None:
        return found
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _peak(status: Path) -> float | None:
    try:
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):  # not Linux, or the process has ended
        return None


@contextmanager
def workers_peak_mib(name: str = "ray::") -> Iterator[list[float]]:
    """Yield a list that in the end holds the largest peak of this process's descendants so named (Linux), or nothing.

    Only its own: other clusters may run on the same machine.
    """
    seen, stop = list[float](), threading.Event()

    def look() -> None:
        while not stop.wait(0.5):
            seen.extend(peaks_below(name))

    thread, told = threading.Thread(target=look, daemon=True), list[float]()
    thread.start()
    try:
        yield told
    finally:
        stop.set()
        thread.join()
        told += [max(seen)] if seen else []


def peaks_below(name: str) -> list[float]:
    """Return the peak memory, in MiB, of each of this process's descendants whose command begins so."""
    found = list[float | None]()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error, IndexError):  # it has ended
            if process.cmdline()[0].startswith(name):
                found.append(_peak(Path(f"/proc/{process.pid}/status")))
    return [peak for peak in found if peak is not None]
