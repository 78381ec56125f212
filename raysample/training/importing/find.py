"""The checkpoints at a path: a Trainer's `checkpoint-*` folders, one `save_pretrained` folder, or a folder of such."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from raysample.core import storage
from raysample.core.errors import CheckpointError, StorageError
from raysample.data.checkpoint_set import CHECKPOINTS_MANIFEST, CheckpointSet
from raysample.models.adapters import CONFIG as ADAPTERS
from raysample.training.importing.schedule import Schedule

TRAINER_STATE = "trainer_state.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_NUMBERED = re.compile(r"(.*?)(\d+)")


@dataclass(frozen=True)
class Found:
    """A folder to import as a checkpoint, with the known facts about it.

    Attributes:
        place: the folder. step, epoch: when it was saved; None if unknown. rate: the learning rate then.
        rate_source: source of the rate, unless it was logged for this step.
        tokenizers: folders that may hold its tokenizer, if not `place`.
        schedule: the training log up to this step. labels: the class names, if known.
        files: hashes that an earlier import recorded.
    """

    place: str
    step: int | None = None
    epoch: float | None = None
    rate: float | None = None
    rate_source: str = ""
    tokenizers: tuple[str, ...] = ()
    schedule: Schedule | None = None
    labels: tuple[str, ...] | None = None
    files: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The last part of `place`."""
        return PurePosixPath(self.place).name


def check_one_run(found: Sequence[Found]) -> None:
    """Raise CheckpointError if folders cannot be of one training, or a folder is incomplete."""
    logged = [one for one in found if one.schedule is not None]
    for one in found:
        if logged and one.schedule is None and _CHECKPOINT.fullmatch(one.name):
            raise CheckpointError(
                f"{one.place!r} has no {TRAINER_STATE}, which a Trainer writes last: it was not written to its end",
                "delete it, or give the other checkpoints one by one",
            )
    for one in logged:
        last = logged[-1]
        if one.schedule and last.schedule and not one.schedule.begins(last.schedule, one.step or 0):
            raise CheckpointError(
                f"{one.place!r} and {last.place!r} are of two trainings: their {TRAINER_STATE} tell different "
                "losses or rates for the same steps",
                "give the checkpoints of one of them, one by one",
            )


def is_address(path: str) -> bool:
    """Return whether a path is an MLflow address, not a folder."""
    return path.startswith(("runs:/", "models:/", "mlflow-artifacts:/", "mlflow:"))


def is_model(place: str) -> bool:
    """Return whether a folder looks like a saved model or saved adapters."""
    return any(storage.exists(storage.join(place, name)) for name in ("config.json", ADAPTERS))


def find(path: str) -> list[Found]:
    """Return the checkpoints at a path, in order.

    Raises:
        CheckpointError: the path does not exist, is an MLflow address, or holds no model.
    """
    if is_address(path):
        raise CheckpointError(
            f"{path!r} is an address of MLflow's, not a folder",
            f"bring the models here first: `raysample adopt {path} --output FOLDER`; then use FOLDER",
        )
    place = storage.absolute(path).rstrip("/")
    if not storage.exists(place):
        raise CheckpointError(f"there is no folder {place!r}", "check the path")
    if storage.exists(storage.join(place, CHECKPOINTS_MANIFEST)):
        return _of_set(CheckpointSet.load(place))
    below = storage.folders(place)
    taken = sorted((name for name in below if _CHECKPOINT.fullmatch(name)), key=_number)
    if taken:
        return [_checkpoint(storage.join(place, name), place) for name in taken]
    if is_model(place):
        return [_checkpoint(place, place.rpartition("/")[0])]
    logged = storage.exists(storage.join(place, "MLmodel"))
    if logged and "artifacts" in below:  # where Hugging Face's callback for MLflow puts a checkpoint
        return find(storage.join(place, "artifacts"))
    models = [name for name in below if is_model(storage.join(place, name))]
    if not models and logged:
        raise CheckpointError(
            f"{place!r} is a model that MLflow logged in another form than that of transformers, such as a pickle, "
            "which is not opened",
            "log it with mlflow.transformers.log_model",
        )
    if not models:
        raise CheckpointError(
            f"{place!r} has no config.json and holds neither checkpoint-* nor other model folders",
            "give folders that `save_pretrained` wrote, or the output folder of a Hugging Face Trainer",
        )
    tokenizers = (place, storage.join(place, "components", "tokenizer"))  # the second is MLflow's place
    return in_training_order([Found(storage.join(place, name), tokenizers=tokenizers) for name in models])


def in_training_order(found: Sequence[Found]) -> list[Found]:
    """Return folders in training order, with their steps.

    By the logged steps, if known for all; else by the numbers at the end of their names, if the rest of the name is the
    same for all; else in the given order, counted from 1.

    Raises:
        CheckpointError: two folders have the same step.
    """
    if any(one.step is None for one in found):
        names = [_NUMBERED.fullmatch(one.name) for one in found]
        parts = [(match[1], int(match[2])) for match in names if match]
        numbers = [number for _, number in parts]
        alike = len(parts) == len(found) and len({stem for stem, _ in parts}) == 1 and len(set(numbers)) == len(numbers)
        steps = numbers if alike and 0 not in numbers else range(1, len(found) + 1)
        found = [replace(one, step=step) for one, step in zip(found, steps, strict=True)]
    ordered = sorted(found, key=lambda one: one.step or 0)
    for one, other in itertools.pairwise(ordered):
        if one.step == other.step:
            raise CheckpointError(
                f"{one.place!r} and {other.place!r} are both of step {one.step}", "give each checkpoint of one run once"
            )
    return ordered


def _number(name: str) -> int:
    """Return the step in a folder name `checkpoint-N`."""
    return int(name.rpartition("-")[2])


def _checkpoint(place: str, root: str) -> Found:
    """Return a folder with the facts in the Trainer's state beside the model, if it exists."""
    uri = storage.join(place, TRAINER_STATE)
    if not storage.exists(uri):
        return Found(place, tokenizers=(root,))
    try:
        state = storage.read_json(uri, foreign=True)
        step, epoch = int(state["global_step"]), state.get("epoch")
        epoch = None if epoch is None else float(epoch)
        schedule = Schedule.from_trainer_state(state)
    except (StorageError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        reason = "" if isinstance(error, StorageError) else f": {type(error).__name__}: {str(error)[:200]}"
        raise CheckpointError(f"{uri!r} is damaged{reason}", "restore it, or leave its checkpoint out") from error
    named = _CHECKPOINT.fullmatch(PurePosixPath(place).name)
    if named and int(named[1]) != step:
        raise CheckpointError(
            f"{place!r} was taken at step {step}, as its {TRAINER_STATE} says", "give the folder its name back"
        )
    return Found(place, step, epoch, tokenizers=(root,), schedule=schedule)


def _of_set(checkpoint_set: CheckpointSet) -> list[Found]:
    """Return the checkpoints of a CheckpointSet with the facts recorded there."""
    return [
        Found(
            c.uri,
            c.step,
            c.epoch,
            c.learning_rate,
            tokenizers=(checkpoint_set.tokenizer,),
            labels=checkpoint_set.labels,
            files=dict(c.files),
        )
        for c in checkpoint_set.checkpoints
    ]
