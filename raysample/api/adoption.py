"""Adopt checkpoints that were saved outside raysample."""

from __future__ import annotations

from collections.abc import Sequence

from raysample.api.coercion import folder_of
from raysample.core import storage
from raysample.core.errors import CheckpointError
from raysample.data.checkpoint_set import CHECKPOINTS_MANIFEST, CheckpointSet
from raysample.training import importing


def adopt(
    folders: str | Sequence[str],
    output: str | None = None,
    *,
    labels: Sequence[str] | None = None,
    learning_rates: float | Sequence[float] | None = None,
) -> CheckpointSet:
    """Return a CheckpointSet of a Hugging Face Trainer's run, or of other `save_pretrained` folders.

    A Trainer's `checkpoint-*` folders are ordered by step, with the epochs and learning rates of its
    `trainer_state.json`. Other folders are ordered by the numbers at the end of their names if the names are otherwise
    equal, else as given; one checkpoint per epoch is assumed, and learning rates are unknown (NaN). Nothing is written
    into the folders. The hashes of their files are recorded, so that later damage is detected.

    Args:
        folders: the output folder of a Trainer, one or more checkpoints, a folder of model folders, or the folder of a
            CheckpointSet. Models may be peft adapters; the folder's other models are then ignored.
        output: folder of the CheckpointSet; a new temporary one by default.
        labels: class names in the order of the classifier's outputs; by default those of config.json, which adapter
            folders lack.
        learning_rates: one per checkpoint, or one for all; by default those that the training logged.

    Raises:
        CheckpointError: folders are damaged, belong to different runs or models, or lack a tokenizer or class names.

    >>> import raysample
    >>> from raysample.testing import tiny_checkpoints
    >>> folders = [checkpoint.uri for checkpoint in tiny_checkpoints("run", 2).checkpoints]
    >>> found = raysample.adopt(folders)
    >>> len(found.checkpoints)
    2
    """
    given = [folders] if isinstance(folders, str) else [str(folder) for folder in folders]
    return importing.adopt_paths(given, folder_of(output, "checkpoints"), labels=labels, learning_rates=learning_rates)


def checkpoint_sets_of(
    checkpoints: CheckpointSet | str | Sequence[str] | Sequence[CheckpointSet], folder: str
) -> list[CheckpointSet]:
    """Return a caller's checkpoints as one set per run; folders that are no set are adopted below `folder`."""
    if isinstance(checkpoints, CheckpointSet | str):
        return [_checkpoint_set(checkpoints, folder)]
    sets = [given for given in checkpoints if isinstance(given, CheckpointSet)]
    if not sets:
        return [_checkpoint_set([str(given) for given in checkpoints], folder)]
    if len(sets) < len(checkpoints):
        raise CheckpointError(
            "checkpoints mixes CheckpointSets with folders", "give CheckpointSets of several runs, or folders of one"
        )
    return [_checkpoint_set(given, storage.join(folder, f"run-{i}")) for i, given in enumerate(sets)]


def _checkpoint_set(checkpoints: CheckpointSet | str | Sequence[str], folder: str) -> CheckpointSet:
    """Return one set: as it is, saved, loaded or adopted."""
    place = storage.join(folder, "checkpoints")
    if isinstance(checkpoints, CheckpointSet):
        return checkpoints if checkpoints.uri else checkpoints.save(place)
    if isinstance(checkpoints, str):
        known = storage.absolute(checkpoints)
        if storage.exists(storage.join(known, CHECKPOINTS_MANIFEST)):
            return CheckpointSet.load(known)
    return adopt(checkpoints, place)
