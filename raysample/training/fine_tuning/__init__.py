"""One fine-tuning from start to end, described by a picklable Job: read, tokenise, train, save checkpoints, test.

The same `execute` runs in this process, in a Ray task (the arms of a comparison) and in a Ray Train worker (rank and
world size then come from Ray).
"""

from raysample.training.fine_tuning.completion import (
    EVALUATION,
    TRAINING_CURVE_FILE,
    finish_job,
    outcome_of,
    read_outcome,
)
from raysample.training.fine_tuning.execution import execute
from raysample.training.fine_tuning.job import Job, Outcome, steps
from raysample.training.fine_tuning.resume import clear
from raysample.training.fine_tuning.rows import load_examples, selected_rows

__all__ = [
    "EVALUATION",
    "TRAINING_CURVE_FILE",
    "Job",
    "Outcome",
    "clear",
    "execute",
    "finish_job",
    "load_examples",
    "outcome_of",
    "read_outcome",
    "selected_rows",
    "steps",
]
