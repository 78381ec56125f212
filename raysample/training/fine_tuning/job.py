"""The description of a fine-tuning, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.core.manifests import checked
from raysample.data.checkpoint_set import Checkpoint
from raysample.data.corpus import Corpus
from raysample.evaluation import Evaluation
from raysample.selection import Selection
from raysample.training import schedule_training


@dataclass(frozen=True)
class Job:
    """The inputs and outputs of one fine-tuning; picklable.

    Attributes:
        train, test: URIs of Corpus folders.
        validation: URI of the Corpus folder that choices are made by; None without one. With early stopping its rows
            are evaluated after every epoch, in place of held-out training rows.
        base: model folder or hub name to start from, from `models.prepare_base`.
        model, config: the recipe; `config.seed` is the run's seed.
        selection: URI of a Selection folder to train on; None trains on all rows.
        redraws: URIs of the selections that the epochs after the first are trained on; empty if all use `selection`.
        folder: the folder for checkpoints, states, captured logits and manifests; None saves none.
        steps: fixed number of optimiser steps; None trains `config.epochs` epochs.
        save_at: the steps whose checkpoints are saved; None saves those of the configured cadence.
        key: identity of the job by content, for reuse of finished work.
    """

    train: str
    test: str
    base: str
    model: ModelConfig
    config: FineTuneConfig
    selection: str | None = None
    redraws: tuple[str, ...] = ()
    folder: str | None = None
    steps: int | None = None
    save_at: tuple[int, ...] | None = None
    key: str = ""
    validation: str | None = None


@dataclass(frozen=True)
class Outcome:
    """The outcome of one fine-tuning.

    Attributes:
        rows: training rows.
        steps: optimiser steps.
        evaluation: metrics on the test corpus.
        seconds: seconds of training and evaluation, over all starts.
        checkpoints: the saved checkpoints in order.
        workers: number of workers of the last start.
        notes: why states could not be used.
        starts: (step, workers) of every start of the run; more than one if it was resumed.
        record: what the model was made from: `model` (see `models.initialisation`), and `tokens` of each corpus (see
            `models.Truncation`).
        validation: metrics on the validation corpus; None without one. Its predictions are not stored.
    """

    rows: int
    steps: int
    evaluation: Evaluation
    seconds: float
    checkpoints: tuple[Checkpoint, ...] = ()
    workers: int = 1
    notes: tuple[str, ...] = ()
    starts: tuple[tuple[int, int], ...] = ()
    record: dict[str, Any] = field(default_factory=dict)
    validation: Evaluation | None = None

    @property
    def before_test(self) -> Evaluation:
        """The evaluation to show before the comparison: on validation, or on test without a validation corpus."""
        return self.evaluation if self.validation is None else self.validation

    @property
    def resumed(self) -> str | None:
        """Describe the resumes of the run; None if it ran through."""
        places = [f"step {step} ({count} worker{'s' if count > 1 else ''})" for step, count in self.starts[1:]]
        return f"went on from {', '.join(places)}" if places else None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data, without the checkpoints (their manifest is the CheckpointSet)."""
        return {
            "rows": self.rows,
            "steps": self.steps,
            "seconds": self.seconds,
            "starts": [list(start) for start in self.starts],
            **self.evaluation.to_dict(),
            "record": self.record,
            "validation": None if self.validation is None else self.validation.to_dict(),
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Outcome:
        """Read the result of `to_dict`."""
        found, record = Evaluation.from_dict(data), checked(dict[str, Any], data["record"])
        rows, steps = checked(int, data["rows"]), checked(int, data["steps"])
        chosen = None if data["validation"] is None else Evaluation.from_dict(data["validation"])
        return Outcome(rows, steps, found, checked(float, data["seconds"]), record=record, validation=chosen)


def steps(job: Job) -> int:
    """Return the number of optimiser steps of a job."""
    rows = Corpus.load(job.train).rows if job.selection is None else Selection.load(job.selection).counts["kept"]
    stopping = job.config.early_stopping
    held_out = 0.0 if stopping is None or job.validation is not None else stopping.holdout
    return schedule_training(max(1, round(rows * (1 - held_out))), job.config, job.steps).steps
