"""Fine-tuning in this process, timed: on all rows, as a proxy, and on the half that a score table selects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from harness.timing import now

import raysample
from raysample import models
from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.core.numerics.precision import device
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.training import DistributedContext
from raysample.training.fine_tuning import Job, execute, finish_job


@dataclass
class Clock:
    """Seconds of a run's optimiser steps and of saving its checkpoints; the first step counts as a mean one."""

    began: float = 0.0
    seconds: float = 0.0

    def __call__(self, step: int, steps: int, loss: float) -> None:
        """Note that a step is done."""
        del loss
        self.began = now() if step == 1 else self.began
        self.seconds = (now() - self.began) * steps / max(1, steps - 1)


@dataclass(frozen=True)
class Trainer:
    """Fine-tunes one encoder on one corpus by one recipe, below `folder`."""

    train: Corpus
    test: Corpus
    model: ModelConfig
    recipe: FineTuneConfig
    folder: Path

    def job(self, model: ModelConfig, seed: int, folder: str | None = None, selection: str | None = None) -> Job:
        """Return what a fine-tuning reads and writes."""
        base = models.prepare_base(model, self.train, str(self.folder / f"base-{model.layers}"))
        recipe = self.recipe.model_copy(update={"seed": seed})
        return Job(self.train.uri, self.test.uri, base, model, recipe, selection=selection, folder=folder)

    def traced(self, layers: int | None = None) -> tuple[CheckpointSet, float]:
        """Fine-tune the encoder, or its first layers, with checkpoints; return them and the seconds it took."""
        model = self.model if layers is None else self.model.model_copy(update={"layers": layers})
        name = "encoder" if layers is None else f"proxy-{layers}"
        job, clock = replace(self.job(model, 0, str(self.folder / name)), key=name), Clock()
        outcome = execute(job, DistributedContext(device=device()), progress=clock)
        return finish_job(job, outcome), clock.seconds

    def trained(self, seed: int, selection: str | None = None) -> tuple[float, float]:
        """Fine-tune without checkpoints, on all rows or on a selection; return test accuracy and seconds."""
        clock = Clock()
        outcome = execute(
            self.job(self.model, seed, None, selection), DistributedContext(device=device()), progress=clock
        )
        return outcome.evaluation.metrics["accuracy"], clock.seconds

    def halves(self, table: ScoreTable, seeds: int, policy: str = "hard") -> list[float]:
        """Return the test accuracy of the half that a policy keeps by `vog` within each class, for each seed."""
        by = {"score": "vog", "normalise": "class"} if policy != "random" else {}
        found = []
        for seed in range(seeds):
            half = raysample.sample(table, policy, fraction=0.5, seed=seed, **by)  # type: ignore[arg-type]
            found.append(round(self.trained(seed, half.uri)[0], 4))
        return found
