"""One fine-tuning of a run: reused if finished, else trained."""

from __future__ import annotations

from raysample.core import storage
from raysample.data.checkpoint_set import CHECKPOINTS_MANIFEST, CheckpointSet
from raysample.training.fine_tuning import EVALUATION, TRAINING_CURVE_FILE, Job, clear, finish_job
from raysample.workflow import training_results
from raysample.workflow.context import RunContext


def finished_checkpoints(job: Job) -> CheckpointSet | None:
    """Return the checkpoints of a finished fine-tuning; None if it is unfinished or belongs to another job."""
    assert job.folder is not None
    if not all(storage.exists(storage.join(job.folder, name)) for name in (CHECKPOINTS_MANIFEST, EVALUATION)):
        return None
    found = CheckpointSet.load(job.folder)
    return found if found.config.get("key") == job.key else None


def fine_tuned(job: Job, context: RunContext) -> CheckpointSet:
    """Fine-tune from the newest saved state of the same job, and track the loss curve."""
    assert job.folder is not None
    clear(job)
    outcome = context.executor.fine_tune(job, job.config.workers_range, context.reporter)
    for note in filter(None, (*outcome.notes, outcome.resumed)):
        context.reporter.say(f"  {note}")
    result = finish_job(job, outcome)
    training_results.tell_curve(context.tracker, storage.join(job.folder, TRAINING_CURVE_FILE))
    return result
