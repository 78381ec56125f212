"""States of a job: under which identity they count, which one it goes on from, what they lie beside."""

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
    job: Job, core: nn.Module, layout: TrainingSchedule, place: DistributedContext, sharded: bool
) -> tuple[Saver | None, StoredStates | None]:
    """Return who saves checkpoints and states, where the job has a folder for them."""
    if job.folder is None:
        return None, None
    words = models.tokenizer(job.base, trust_remote_code=job.model.trust_remote_code)
    saver = Saver(job.folder, core, words, layout, place, sharded)
    # The running epoch of a capture lies on the workers' disks: a run with one goes on from the end of an epoch.
    every = layout.steps_per_epoch if job.config.capture else 1
    return saver, StoredStates(job.folder, job_fingerprint(job), job.config.resume, every, saver.holds)


def resumed(
    states: StoredStates | None, saver: Saver | None, place: DistributedContext, attempt: str
) -> Snapshot | None:
    """Return the state to go on from, the same on every worker: rank 0 chooses it."""
    if states is None or saver is None:
        return None
    found = states.newest() if place.rank == 0 else None
    step = broadcast(0 if found is None else found.step, place)
    if place.rank == 0:
        states.begin(step, attempt, place.world)
    elif step:
        found = states.read(step)
    if found is not None:
        saver.resume(found.curve.table()["learning_rate"].to_pylist())
    return found


def clear(job: Job) -> None:
    """Empty a job's folder, unless there is a state of this very job to go on from."""
    assert job.folder is not None
    if not StoredStates(job.folder, job_fingerprint(job), job.config.resume).known():
        storage.remove(job.folder)


def job_fingerprint(job: Job) -> str:
    """Return the fingerprint of all that the trained weights and the saved checkpoints depend on."""
    chosen = None if job.selection is None else Selection.load(job.selection).fingerprint
    rows = [Corpus.load(uri).fingerprint for uri in (job.train, job.test)]
    return storage.fingerprint(
        [rows, chosen, job.base, job.model.to_dict(), job.config.recipe, job.steps, job.save_at, version.__version__]
    )
