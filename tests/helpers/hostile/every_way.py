"""Kinds of inputs for the tests of benchmarks/fuzz.py: each ends in its own way. Imported by worker processes, too."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from random import Random

from raysample.core.errors import ConfigError
from tests.helpers.hostile.kinds import Kind, LostError


def every_way(rng: Random, templates: Path, scratch: Path) -> None:
    """End as a file in the templates says, one way for each seed in turn."""
    del rng, scratch
    ways = (templates / "ways").read_text().split()
    way = ways[0]
    (templates / "ways").write_text(" ".join(ways[1:]))
    if way == "refused":
        raise ConfigError("no", "do not")
    if way == "traceback":
        raise KeyError("x")
    if way == "lost":
        raise LostError("3 of 5 rows")
    if way == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "waits":
        threading.Event().wait()
    if way == "deaf":  # as in C code: no alarm reaches it
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        threading.Event().wait()


EVERY_WAY = Kind("every_way", 1, every_way)
