"""Checks of the folders of one run, by the headers of their files, before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysample.core import storage
from raysample.core.errors import CheckpointError, ModelError, RaysampleError, StorageError
from raysample.data import checkpoint_set
from raysample.models import adapters
from raysample.models.weights import Shapes, shapes
from raysample.training.importing.find import Found

DEFAULT_CLASSES = 2
"""Classes of a config.json without class names: transformers does not write its defaults."""
Names = tuple[str, ...]


@dataclass(frozen=True)
class Opened:
    """A folder with its configuration and the shapes of its weights.

    Attributes:
        found: the known facts about it. folder: its local copy. config: its config.json; None for adapters.
        shapes: shapes of its weights. classes: number of outputs of its classifier.
    """

    found: Found
    folder: str
    config: dict[str, Any] | None
    shapes: Shapes
    classes: int

    @property
    def architecture(self) -> str:
        """The architecture, for comparison and messages."""
        if self.config is None:
            return "adapters"
        return f"{self.config.get('model_type')} {', '.join(self.config.get('architectures') or ())}".strip()

    @property
    def names(self) -> Names | None:
        """The class names in output order, from an earlier set or its configuration; None if unknown."""
        if self.found.labels is not None:
            return self.found.labels
        names = None if self.config is None else self.config.get("id2label")
        return tuple(str(names[key]) for key in sorted(names, key=int)) if names else None


def open_folders(found: Sequence[Found]) -> list[Opened]:
    """Read the headers of every folder.

    Raises:
        CheckpointError: one or more cannot be used; names all of them, with the reason.
    """
    good, bad = list[Opened](), list[tuple[str, RaysampleError]]()
    for one in found:
        try:
            good.append(_open(one))
        except (ModelError, CheckpointError) as error:
            bad.append((one.place, error))
    if bad:
        more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise CheckpointError(
            f"{len(bad)} of {len(found)} checkpoints cannot be used: "
            + "; ".join(f"{place!r}: {error.problem}" for place, error in bad[:5])
            + more,
            bad[0][1].advice,
        )
    return good


def _open(one: Found) -> Opened:
    """Read the headers of one folder; verifies recorded hashes first."""
    folder = storage.localise(one.place)
    checkpoint_set.verify_checkpoint(folder, one.files)  # hashes of a set that raysample wrote or imported before
    path = Path(folder) / "config.json"
    config = None if adapters.is_adapter(folder) else _read(path)
    weights = shapes(folder)
    if config is None:
        return Opened(one, folder, None, weights, adapters.classes(folder, one.place))
    _check_classifier(config, path)
    return Opened(one, folder, config, weights, len(config.get("id2label") or ()) or DEFAULT_CLASSES)


def _read(path: Path) -> dict[str, Any]:
    """Read a config.json; raises CheckpointError if missing or damaged."""
    if not path.exists():
        raise CheckpointError(f"it has no {path.name}", "give folders that `save_pretrained` wrote to their end")
    try:
        found = storage.read_json(str(path), foreign=True)
        if not isinstance(found, dict):
            raise TypeError("it holds no mapping")
        names = found.get("id2label")
        _ = sorted(map(int, names)) if names else []
        _ = [*(found.get("architectures") or ())]
    except (StorageError, TypeError, ValueError) as error:
        reason = error.problem if isinstance(error, StorageError) else str(error)[:200]
        raise CheckpointError(f"{path.name} is damaged: {reason}", "restore it, or leave its folder out") from error
    return found


def _check_classifier(config: dict[str, Any], path: Path) -> None:
    """Raise CheckpointError unless a config.json describes a single-label sequence classifier."""
    kinds = [str(kind) for kind in config.get("architectures") or ()]
    if kinds and not config.get("auto_map") and not any("SequenceClassification" in kind for kind in kinds):
        raise CheckpointError(
            f"{path.name} says {', '.join(kinds)}, which is no sequence classifier",
            "give checkpoints of an AutoModelForSequenceClassification",
        )
    kind = config.get("problem_type")
    if kind not in (None, "single_label_classification"):
        raise CheckpointError(f"it is made for {kind}", "scores need one class per row: softmax over classes")


def check_alike(found: Sequence[Opened]) -> None:
    """Raise CheckpointError, naming two folders, unless all have the same architecture, classes and shapes."""
    first = found[0]
    for one in found[1:]:
        for what, here, there in (
            ("architectures", first.architecture, one.architecture),
            ("numbers of classes", first.classes, one.classes),
            ("class names", first.names, one.names),
        ):
            if here != there:
                raise _different(first, one, what, f"{_told(here)} and {_told(there)}")
        if one.shapes != first.shapes:
            every = first.shapes | one.shapes
            name = min(name for name in every if first.shapes.get(name) != one.shapes.get(name))
            mine, its = (shapes.get(name, "lacking") for shapes in (first.shapes, one.shapes))
            raise _different(first, one, "weights", f"{name} is {mine} and {its}")


def _told(value: object) -> str:
    """Return a value for a message."""
    return ", ".join(map(repr, value)) if isinstance(value, tuple) else str(value)


def _different(first: Opened, one: Opened, what: str, how: str) -> CheckpointError:
    """Return the error for two folders that differ."""
    return CheckpointError(
        f"{first.found.place!r} and {one.found.place!r} have different {what}: {how}",
        "give checkpoints of one training",
    )


def output_labels(found: Sequence[Opened], given: Sequence[str] | None) -> Names:
    """Return the class names in the order of the classifier's outputs.

    Raises:
        CheckpointError: they are unknown, or too many, too few or not distinct.
    """
    last = found[-1]
    names = tuple(given) if given is not None else last.names
    if names is None:
        has = "holds adapters, which do" if last.config is None else "has no id2label in its config.json, which does"
        raise CheckpointError(
            f"{last.found.place!r} {has} not tell the names of the classes",
            "adopt with --labels, or raysample.adopt(folders, labels=[...]), in the order of the classifier's outputs",
        )
    if len(names) != last.classes or len(set(names)) != len(names) or len(names) < 2:
        raise CheckpointError(
            f"{len(names)} class names ({', '.join(map(repr, names[:8]))}) for the {last.classes} outputs of "
            f"{last.found.place!r}",
            "give one name for each output, two or more, all different, in the order of the outputs",
        )
    return names
