"""Score a shard in a process of its own: if that process dies too, the shard kills workers.

Else the worker was unlucky.

The process runs this module. It reads its order from a file, leaves a mark before it scores and an answer at the end,
and exits when the pipe from its worker breaks: it never outlives the worker.
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
"""Processes that must die before a shard is blamed: a single one may have died for the same cause as its worker."""

ORDER, BEGAN, ANSWER = "order", "began", "answer"


def survived(job: ScoreJob, shard: int, died: CrashCount) -> bool:
    """Score a shard in up to TRIALS processes, one after the other; return whether one of them wrote its part.

    `died` counts the workers that died over the shard; each process records when it starts with the rows.

    Raises:
        ScoreError: a process did not start.
        Exception: an error of the scoring in the process, which is no crash.
    """
    return any(_lived(job, shard, died) for _ in range(TRIALS))


def _lived(job: ScoreJob, shard: int, died: CrashCount) -> bool:
    """Score a shard in one process; return whether it answered, and re-raise the error that it answered with."""
    with tempfile.TemporaryDirectory(prefix="raysample-isolated-") as folder:
        place = Path(folder)
        # The same number of threads as the worker: sums over threads could differ in their last bits.
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
    """Run this module in a child process on the order in a folder; return its exit code."""
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    # Not `-m`: the package imports this module, which would then be loaded twice, with two sets of classes.
    entry = score_ordered_shard.__name__
    command = [sys.executable, "-c", f"from {__name__} import {entry}; {entry}({str(place)!r})"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **paths}) as child:  # noqa: S603
        try:
            return child.wait()
        finally:
            child.kill()


def score_ordered_shard(folder: str) -> None:
    """Score the shard of the order in a folder and write the answer there: None or an error."""
    place = Path(folder)
    for stop in (signal.SIGTERM, signal.SIGINT):
        # A node that shuts down signals all processes at once; the worker would count that as a crash of the shard.
        signal.signal(stop, signal.SIG_IGN)
    threading.Thread(target=_end_with_worker, daemon=True).start()
    job, shard, died, threads = pickle.loads((place / ORDER).read_bytes())  # noqa: S301 - our own worker wrote it
    torch.set_num_threads(threads)
    error = _scored(place, job, shard, died)
    draft = place / "draft"
    draft.write_bytes(pickle.dumps(error))
    draft.replace(place / ANSWER)


def _end_with_worker() -> None:
    """Exit when the worker closes the pipe or dies: reading stdin returns at its end of file."""
    sys.stdin.buffer.read()
    os._exit(1)


def _scored(place: Path, job: ScoreJob, shard: int, died: CrashCount) -> Exception | None:
    """Score one shard; return the error, or None."""
    from raysample.influence.shards.scorer import ShardScorer  # imports this module: no import at module level

    try:
        scorer = ShardScorer(job)
        (place / BEGAN).touch()
        crash_counter.mark_started(job.folder, scorer.corpus.shards[shard], died)
        scorer.here(shard)
    except Exception as error:  # noqa: BLE001 - any error: the worker raises it again
        return _portable(error)
    return None


def _portable(error: Exception) -> Exception:
    """Return an error that can be pickled: `error` itself, or a ScoreError with its type and message."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made on this line
    except Exception:  # noqa: BLE001 - exceptions of other packages may fail here in many ways
        return ScoreError(f"{type(error).__name__}: {error}", "see the log of the worker")
    return error
