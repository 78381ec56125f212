"""The resume states of a job.

The identity that they must match, the state to resume from, the checkpoints beside them.
"""

from __future__ import annotations

from torch import nn

from raysample import models, version
from raysample.core import storage
from raysample.data.corpus import Corpus
from raysample.selection import Selection
from raysample.training import DistributedContext, TrainingSchedule
from raysample.training.distributed import broadcast
from raysample.training.fine_tuning.job import Job
from raysample.training.save import Saver
from raysample.training.snapshot import Snapshot
from raysample.training.states import StoredStates


def kept_by(
    job: Job, core: nn.Module, layout: TrainingSchedule, context: DistributedContext, sharded: bool
) -> tuple[Saver | None, StoredStates | None]:
    """Return the saver of checkpoints and the storage of states, or (None, None) for a job without a folder."""
    if job.folder is None:
        return None, None
    tokenizer = models.tokenizer(job.base, trust_remote_code=job.model.trust_remote_code)
    saver = Saver(job.folder, core, tokenizer, layout, context, sharded)
    # The current epoch of a capture is on the local disks of the workers: with capture a run resumes after an epoch.
    every = layout.steps_per_epoch if job.config.capture else 1
    return saver, StoredStates(job.folder, job_fingerprint(job), job.config.resume, every, saver.holds)


def resumed(
    states: StoredStates | None, saver: Saver | None, context: DistributedContext, attempt: str
) -> Snapshot | None:
    """Return the state to resume from, the same on every worker, or None to start from the first step.

    Rank 0 verifies states and broadcasts the step that it chose; the others read that state from storage. So a state is
    hashed once, and workers cannot choose different states.
    """
    if states is None or saver is None:
        return None
    # Only rank 0 hashes the files; the broadcast also makes the others wait until it has finished.
    state = states.newest() if context.rank == 0 else None
    step = broadcast(0 if state is None else state.step, context)
    if context.rank == 0:
        states.begin(step, attempt, context.world)
    elif step:
        state = states.read(step)
    # The learning rates of the saved checkpoints are in the curve of the state.
    if state is not None:
        saver.resume(state.curve.table()["learning_rate"].to_pylist())
    return state


def clear(job: Job) -> None:
    """Empty a job's folder, unless it holds a state of this very job."""
    assert job.folder is not None
    if not StoredStates(job.folder, job_fingerprint(job), job.config.resume).known():
        storage.remove(job.folder)


def job_fingerprint(job: Job) -> str:
    """Return the fingerprint of everything the trained weights and the saved checkpoints depend on."""
    chosen = [Selection.load(uri).fingerprint for uri in (job.selection, *job.redraws) if uri is not None]
    rows = [None if uri is None else Corpus.load(uri).fingerprint for uri in (job.train, job.test, job.validation)]
    return storage.fingerprint(
        [rows, chosen, job.base, job.model.to_dict(), job.config.recipe, job.steps, job.save_at, version.__version__]
    )
