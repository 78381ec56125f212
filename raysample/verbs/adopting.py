"""Checkpoints that others saved."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from raysample import storage
from raysample.checkpoints import Checkpoint, CheckpointSet
from raysample.errors import CheckpointError
from raysample.model.adapters import CONFIG as ADAPTERS
from raysample.verbs.given import folder_of


def adopt(folders: Sequence[str], output: str | None = None, *, labels: Sequence[str] | None = None) -> CheckpointSet:
    """Make a CheckpointSet of `save_pretrained` folders in training order.

    A folder named like `checkpoint-500` or `step-500` gives the step; one checkpoint an epoch is assumed, as the
    folders do not tell. Learning rates are unknown and set to 1.

    Args:
        folders: of whole models, or of adapters that peft saved: these count alone then.
        output: folder of the CheckpointSet; a new temporary one by default.
        labels: class names in the order of the classifier's outputs; by default those of the last folder's config.json,
            which folders of adapters lack.
    """
    if not folders:
        raise CheckpointError("no checkpoint folders were given", "name at least one `save_pretrained` folder")
    places = [storage.absolute(str(folder)) for folder in folders]
    for place in places:
        if not any(storage.exists(storage.join(place, name)) for name in ("config.json", ADAPTERS)):
            raise CheckpointError(f"{place!r} has no config.json", "give folders that `save_pretrained` wrote")
    found = [re.search(r"(\d+)$", place.rstrip("/")) for place in places]
    steps = [int(match.group(1)) if match else 0 for match in found]
    if steps != sorted(set(steps)) or 0 in steps:
        steps = list(range(1, len(places) + 1))
    rows = tuple(Checkpoint(p, step, float(i + 1), 1.0) for i, (p, step) in enumerate(zip(places, steps, strict=True)))
    names = tuple(labels) if labels is not None else _labels(places[-1])
    return CheckpointSet(rows, names, seed=0, config={"adopted": True}).save(folder_of(output, "checkpoints"))


def _labels(place: str) -> tuple[str, ...]:
    """Return the class names that a model's folder tells."""
    if not storage.exists(storage.join(place, "config.json")):
        raise CheckpointError(
            f"{place!r} holds adapters, which do not tell the names of the classes",
            "adopt them with raysample.adopt(folders, labels=[...]), in the order of the classifier's outputs",
        )
    told = json.loads((Path(storage.localise(place)) / "config.json").read_text(encoding="utf-8")).get("id2label", {})
    if not told:
        raise CheckpointError(f"{place!r} has no id2label in its config.json", "save a sequence classifier there")
    return tuple(str(told[key]) for key in sorted(told, key=int))


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
    if isinstance(checkpoints, CheckpointSet):
        return checkpoints if checkpoints.uri else checkpoints.save(storage.join(folder, "checkpoints"))
    if isinstance(checkpoints, str):
        place = storage.absolute(checkpoints)
        if any(storage.exists(storage.join(place, name)) for name in ("config.json", ADAPTERS)):
            return adopt([place], storage.join(folder, "checkpoints"))
        return CheckpointSet.load(place)
    return adopt(checkpoints, storage.join(folder, "checkpoints"))
