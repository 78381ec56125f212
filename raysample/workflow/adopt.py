"""Adopted checkpoints in place of a run's own fine-tuning."""

from __future__ import annotations

from raysample.core import storage
from raysample.core.config import AdoptConfig, ScoreConfig
from raysample.core.progress import Reporter
from raysample.data.checkpoint_set import CHECKPOINTS_MANIFEST, CheckpointSet
from raysample.data.corpus import Corpus
from raysample.influence.scores import create_scores
from raysample.training import importing


def adopted(wanted: AdoptConfig, folder: str, keep: bool) -> CheckpointSet:
    """Return the CheckpointSet of the configured paths in `folder`; with `keep`, an existing one is reused."""
    if keep and storage.exists(storage.join(folder, CHECKPOINTS_MANIFEST)):
        return CheckpointSet.load(folder)
    storage.remove(folder)
    return importing.adopt_paths(wanted.paths, folder, labels=wanted.labels, learning_rates=wanted.learning_rates)


def check_adopted(checkpoint_set: CheckpointSet, train: Corpus, config: ScoreConfig, reporter: Reporter) -> None:
    """Raise CheckpointError if the checkpoints do not suit a score; report classes without training rows."""
    for score in create_scores(config.scores).values():
        score.select(checkpoint_set.checkpoints)
    empty = [name for name, rows in zip(train.labels, train.class_counts, strict=True) if not rows]
    if empty:
        some = ", ".join(empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
        reporter.say(f"  no training row has these classes of the checkpoints: {some}")
