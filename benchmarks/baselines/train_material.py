"""What is trained: rows with their order, a model that is always the same, a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from baselines.score_material import made_up_corpus
from raysample import models
from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.data.corpus import Corpus
from raysample.training import Examples, TrainingSchedule, batches, schedule_training
from raysample.training.fine_tuning import Job, load_examples

SEED = 0


@dataclass(frozen=True)
class Work:
    """A training of `steps` steps; in all batches there are as many rows, and no dropout disturbs the comparison."""

    train: str
    test: str
    base: str
    spec: ModelConfig
    recipe: FineTuneConfig
    steps: int

    @cached_property
    def data(self) -> Examples:
        """The tokenised rows."""
        return load_examples(self.train, Corpus.load(self.train).fingerprint, self.base, self.spec)

    @property
    def layout(self) -> TrainingSchedule:
        """The steps, as the loop of raysample takes them."""
        return schedule_training(len(self.data), self.recipe, self.steps)

    @property
    def order(self) -> list[NDArray[np.int64]]:
        """The rows of every step."""
        return list(batches(len(self.data), self.recipe.batch_size, self.recipe.seed, self.steps))

    def network(self) -> nn.Module:
        """Return the model before its first step."""
        return models.build_model(self.base, self.spec, Corpus.load(self.train).labels, self.recipe.seed)

    def job(self, folder: Path) -> Job:
        """Return the same training as Ray Train gets it; it writes a checkpoint after the last step."""
        return Job(self.train, self.test, self.base, self.spec, self.recipe, folder=str(folder), steps=self.steps)


def made_up(folder: Path, spec: ModelConfig, batch_size: int, steps: int, epochs: int) -> Work:
    """Make rows for `epochs` epochs of full batches, a recipe without warm-up, and the base.

    Without warm-up, since the Trainer's own warms up from 0 and that of raysample from the first step's share.
    """
    recipe = FineTuneConfig(
        batch_size=batch_size, learning_rate=3e-4, warmup_ratio=0.0, precision="float32", checkpoints=1, seed=SEED
    )
    train = made_up_corpus(folder / "train", batch_size * (steps // epochs), 256, seed=SEED)
    test = made_up_corpus(folder / "test", 32, 32, seed=SEED + 1)
    base = models.prepare_base(spec, train, str(folder / "base"))
    return Work(train.uri, test.uri, base, spec, recipe, steps)
