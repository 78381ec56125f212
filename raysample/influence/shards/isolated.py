"""A shard in a process of its own: whether that dies, too, tells a shard that kills workers from one in bad luck.

The process is this module. It gets its order as a file, leaves a mark before it scores and an answer at the end, and
ends itself when the pipe from its worker breaks: it never outlives the worker.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import torch

from raysample.core.errors import ScoreError
from raysample.influence.shards import crash_counter
from raysample.influence.shards.crash_counter import CrashCount
from raysample.influence.shards.job import ScoreJob

TRIALS = 2
"""Processes that must die before a shard is blamed: one alone may have been hit together with its worker."""

ORDER, BEGAN, ANSWER = "order", "began", "answer"


def survived(job: ScoreJob, shard: int, died: CrashCount) -> bool:
    """Score a shard in up to TRIALS processes, one after the other; tell whether one lived to write its part.

    `died`: workers that died over it before; each process notes when it comes to the rows.

    Raises:
        ScoreError: a process could not begin.
        Exception: what scoring raised in the process, which is no crash.
    """
    return any(_lived(job, shard, died) for _ in range(TRIALS))


def _lived(job: ScoreJob, shard: int, died: CrashCount) -> bool:
    with tempfile.TemporaryDirectory(prefix="raysample-apart-") as folder:
        place = Path(folder)
        # The same number of threads, or the numbers could differ in their last bits.
        (place / ORDER).write_bytes(pickle.dumps((job, shard, died, torch.get_num_threads())))
        code = _run(place)
        if (place / ANSWER).exists():
            error = pickle.loads((place / ANSWER).read_bytes())  # noqa: S301 - our own process wrote it
            if error is not None:
                raise error
            return True
        if not (place / BEGAN).exists():
            raise ScoreError(
                f"a process that was to score a shard apart ended with code {code} before it began",
                "see the log of the worker; finished shards are kept, so run again when that is mended",
            )
        return False


def _run(place: Path) -> int:
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    # Not -m: the package imports this module, which would then be there twice.
    command = [sys.executable, "-c", f"from {__name__} import main; main({str(place)!r})"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **paths}) as child:  # noqa: S603
        try:
            return child.wait()
        finally:
            child.kill()


def score_ordered_shard(folder: str) -> None:
    """Score the shard that the order in a folder names, and leave what came of it there."""
    place = Path(folder)
    for stop in (signal.SIGTERM, signal.SIGINT):
        # A node that is shut down sends these to all processes at once; the worker would take that for a crash.
        signal.signal(stop, signal.SIG_IGN)
    threading.Thread(target=_end_with_worker, daemon=True).start()
    job, shard, died, threads = pickle.loads((place / ORDER).read_bytes())  # noqa: S301 - our own worker wrote it
    torch.set_num_threads(threads)
    error = _scored(place, job, shard, died)
    draft = place / "draft"
    draft.write_bytes(pickle.dumps(error))
    draft.replace(place / ANSWER)


def _end_with_worker() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _scored(place: Path, job: ScoreJob, shard: int, died: CrashCount) -> Exception | None:
    from raysample.influence.shards.scorer import ShardScorer  # here, since it imports this module

    try:
        scorer = ShardScorer(job)
        (place / BEGAN).touch()
        crash_counter.mark_started(job.folder, scorer.corpus.shards[shard], died)
        scorer.here(shard)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is raised again where it was asked for
        return _portable(error)
    return None


def _portable(error: Exception) -> Exception:
    """Return an error that can be raised in another process."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made on this line
    except Exception:  # noqa: BLE001 - exceptions of other packages may fail here in many ways
        return ScoreError(f"{type(error).__name__}: {error}", "see the log of the worker")
    return error
