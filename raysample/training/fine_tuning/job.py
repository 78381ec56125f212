"""What a fine-tuning is to do, and what it came to."""

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
    """What one fine-tuning reads and writes.

    Attributes:
        train, test: URIs of Corpus folders.
        base: model folder or hub name to start from, from `model.prepare`.
        model, config: the recipe; `config.seed` is the run's seed.
        selection: URI of a Selection folder to train on; None trains on all rows.
        folder: where checkpoints, states, captured logits and the manifests go; None saves none.
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
    folder: str | None = None
    steps: int | None = None
    save_at: tuple[int, ...] | None = None
    key: str = ""


@dataclass(frozen=True)
class Outcome:
    """What one fine-tuning came to, by `workers` workers in the end.

    `notes` tell of states that could not be used, `starts` from which step, and with how many workers, it began or went
    on. `record` tells what it was made from: `model` (see `model.initialisation`), and `tokens` of `train` and `test`
    (see `model.Truncation`).
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

    @property
    def resumed(self) -> str | None:
        """Tell in words from where the run went on; None where it ran through."""
        places = [f"step {step} ({count} worker{'s' if count > 1 else ''})" for step, count in self.starts[1:]]
        return f"went on from {', '.join(places)}" if places else None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data, without the checkpoints (they have their own manifest)."""
        return {
            "rows": self.rows,
            "steps": self.steps,
            "seconds": self.seconds,
            "starts": [list(start) for start in self.starts],
            **self.evaluation.to_dict(),
            "record": self.record,
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Outcome:
        """Read back what `to_dict` wrote, also an earlier version of it."""
        found, record = Evaluation.of(data), checked(dict[str, Any], data.get("record", {}))
        rows, steps = checked(int, data["rows"]), checked(int, data["steps"])
        return Outcome(rows, steps, found, checked(float, data["seconds"]), record=record)


def steps(job: Job) -> int:
    """Return how many optimiser steps a job takes."""
    rows = Corpus.load(job.train).rows if job.selection is None else Selection.load(job.selection).counts["kept"]
    held_out = 0.0 if job.config.early_stopping is None else job.config.early_stopping.holdout
    return schedule_training(max(1, round(rows * (1 - held_out))), job.config, job.steps).steps
