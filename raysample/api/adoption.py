"""Checkpoints that others saved."""

from __future__ import annotations

from collections.abc import Sequence

from raysample.api.coercion import folder_of
from raysample.core import storage
from raysample.core.errors import CheckpointError
from raysample.data.checkpoint_set import MANIFEST, CheckpointSet
from raysample.training import importing


def adopt(
    folders: str | Sequence[str],
    output: str | None = None,
    *,
    labels: Sequence[str] | None = None,
    learning_rates: float | Sequence[float] | None = None,
) -> CheckpointSet:
    """Make a CheckpointSet of what others saved: a Hugging Face Trainer's run, or `save_pretrained` folders.

    A Trainer's `checkpoint-*` folders come in the order of their steps, with the epochs and learning rates of its
    `trainer_state.json`. Other folders come in the order of the numbers that their names end in, if these are alike in
    the rest, else as given; one checkpoint an epoch is assumed, and their learning rates are unknown (NaN). Nothing is
    written into the folders. The hashes of their files are recorded, so that later damage is found.

    Args:
        folders: the output folder of a Trainer, one or more checkpoints, a folder of model folders, or that of a
            CheckpointSet; models may be adapters that peft saved: these count alone then.
        output: folder of the CheckpointSet; a new temporary one by default.
        labels: class names in the order of the classifier's outputs; by default those of config.json, which folders of
            adapters lack.
        learning_rates: one of each checkpoint, or a single one of all; those that the training logged by default.

    Raises:
        CheckpointError: folders are damaged, of different runs or models, lack a tokenizer or names of classes.
    """
    given = [folders] if isinstance(folders, str) else [str(folder) for folder in folders]
    return importing.adopt_paths(given, folder_of(output, "checkpoints"), labels=labels, learning_rates=learning_rates)


def traces_of(
    checkpoints: CheckpointSet | str | Sequence[str] | Sequence[CheckpointSet], folder: str
) -> list[CheckpointSet]:
    """Return what a caller names as checkpoints: one set per run; adopted below `folder` where they are no set yet."""
    if isinstance(checkpoints, CheckpointSet | str):
        return [_trace(checkpoints, folder)]
    sets = [given for given in checkpoints if isinstance(given, CheckpointSet)]
    if not sets:
        return [_trace([str(given) for given in checkpoints], folder)]
    if len(sets) < len(checkpoints):
        raise CheckpointError(
            "checkpoints mixes CheckpointSets with folders", "give CheckpointSets of several runs, or folders of one"
        )
    return [_trace(given, storage.join(folder, f"run-{i}")) for i, given in enumerate(sets)]


def _trace(checkpoints: CheckpointSet | str | Sequence[str], folder: str) -> CheckpointSet:
    place = storage.join(folder, "checkpoints")
    if isinstance(checkpoints, CheckpointSet):
        return checkpoints if checkpoints.uri else checkpoints.save(place)
    if isinstance(checkpoints, str):
        known = storage.absolute(checkpoints)
        if storage.exists(storage.join(known, MANIFEST)):
            return CheckpointSet.load(known)
    return adopt(checkpoints, place)
