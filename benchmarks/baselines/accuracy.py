"""Accuracy after training, by the loop of raysample and by the Hugging Face Trainer: same recipe, same first weights.

Rows are shuffled and batches are cut by each system's own means, so one pair of runs differs by chance; what counts is
the mean difference over seeds against the noise of that mean.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from label_noise.trials import read, simulated, some, written
from scipy.stats import t as student
from torch import nn

from baselines import hf_trainer
from raysample import models
from raysample.core import storage
from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.core.numerics.precision import resolve
from raysample.data.corpus import Corpus, describe_source
from raysample.training import Examples, assess, schedule_training, train
from raysample.training.fine_tuning import load_examples

LEAST = 0.01
"""A mean difference that is taken for none, however little the runs differ by chance."""
MARGIN = 0.02
"""Over all sets the accuracies must be equivalent within this margin."""


@dataclass(frozen=True)
class Trial:
    """A training and a test set, and the accuracy of always saying the same: the test's share of its largest class."""

    name: str
    train: Corpus
    test: Corpus
    commonest: float


@dataclass(frozen=True)
class Pairs:
    """The accuracies of one trial, seed by seed, and how long each system took."""

    ours: list[float] = field(default_factory=list)
    trainer: list[float] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: {"ours": 0.0, "trainer": 0.0})

    @property
    def differences(self) -> list[float]:
        """Ours less the Trainer's."""
        return [a - b for a, b in zip(self.ours, self.trainer, strict=True)]


def real(path: Path, rows: int, test_rows: int, folder: Path) -> Trial:
    """Take rows from a Parquet file with the columns id, text, label and split."""
    frame = read(path)
    train, test = (frame[frame["split"] == part] for part in ("train", "test"))
    return _described(path.stem, some(train, rows), some(test, test_rows), folder)


def made_up(rows: int, folder: Path) -> Trial:
    """Take simulated traffic."""
    trial, _ = simulated(folder / "traffic", rows, 0.0)
    return _described("simulated traffic", trial.rows, trial.test, folder)


def _described(name: str, train: object, test: object, folder: Path) -> Trial:
    folder.mkdir(parents=True, exist_ok=True)
    corpus = describe_source(written(train, folder / "train.parquet"), str(folder / "train"))
    held_out = describe_source(written(test, folder / "test.parquet"), str(folder / "test"), labels=corpus.labels)
    counts = np.bincount(held_out.table()["label"].to_numpy())
    return Trial(name, corpus, held_out, float(counts.max() / counts.sum()))


def compared(trial: Trial, spec: ModelConfig, recipe: FineTuneConfig, seeds: int, folder: Path, kept: Path) -> Pairs:
    """Train with both systems and every seed, and test; what lies in `kept` already is taken as it is."""
    base, pairs = models.prepare_base(spec, trial.train, str(folder / "base")), Pairs()
    rows, held_out = (load_examples(one.uri, one.fingerprint, base, spec) for one in (trial.train, trial.test))
    told = [trial.train.fingerprint, trial.test.fingerprint, spec.to_dict(), recipe.to_dict()]
    kept.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        seeded = recipe.model_copy(update={"seed": seed})
        for name in ("ours", "trainer"):
            place = kept / f"{storage.fingerprint(told)[:12]}-{seed}-{name}.json"
            if not place.exists():
                network = models.build_model(base, spec, trial.train.labels, seed)
                seconds = _trained(name, network, rows, base, seeded)
                found = assess(network, held_out, "cpu", resolve(recipe.precision, network, "cpu"))
                storage.write_json(str(place), {"accuracy": found.metrics["accuracy"], "seconds": seconds})
            one = storage.read_json(str(place))
            pairs.seconds[name] += one["seconds"]
            getattr(pairs, name).append(one["accuracy"])
        print(f"{trial.name}, seed {seed}: raysample {pairs.ours[-1]:.4f}, Trainer {pairs.trainer[-1]:.4f}", flush=True)
    return pairs


def _trained(name: str, network: nn.Module, rows: Examples, base: str, recipe: FineTuneConfig) -> float:
    """Train a model in place by one of the systems; return the seconds."""
    began = time.perf_counter()
    if name == "ours":
        train(network, rows, recipe, schedule_training(len(rows), recipe))
    else:
        hf_trainer.by_its_own_means(network, rows, base, recipe)
    return time.perf_counter() - began


def interval(differences: Sequence[float], level: float) -> tuple[float, float]:
    """Return the mean of paired differences and half of its interval by Student's t; infinite for a single one."""
    count, mean = len(differences), float(np.mean(differences))
    if count < 2:
        return mean, float("inf")
    error = float(np.std(differences, ddof=1)) / count**0.5
    return mean, float(student.ppf((1 + level) / 2, count - 1)) * error
