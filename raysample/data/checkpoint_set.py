"""Checkpoint and CheckpointSet: the ordered trace of one fine-tuning run, as plain `save_pretrained` folders."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from raysample.core import manifests, storage
from raysample.core.errors import CheckpointError

MANIFEST = "checkpoints.json"
COMPLETE = "COMPLETE.json"
TOKENIZER = "tokenizer"


@dataclass(frozen=True)
class Checkpoint:
    """One saved model of a run: where it is, and when in the training it was taken.

    `epoch` is fractional (step / steps per epoch); `learning_rate` is the encoder's at that step, NaN where nobody told
    it. `files`: the sha256 of the files of a folder that was adopted, by name; our own have it in COMPLETE.json.
    """

    uri: str
    step: int
    epoch: float
    learning_rate: float
    files: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class CheckpointSet:
    """The checkpoints of one run in training order, with what the run was made from.

    Attributes:
        checkpoints: in training order.
        labels: class names; a label's integer is its place in this list.
        seed: the run's seed.
        corpus: fingerprint of the training corpus; None for adopted runs.
        config: fingerprint-able configuration of the run.
        metrics: evaluation at the end of training.
        warnings: what makes the trained model doubtful, in words.
    """

    checkpoints: tuple[Checkpoint, ...]
    labels: tuple[str, ...]
    seed: int
    corpus: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    uri: str = ""
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        steps = [checkpoint.step for checkpoint in self.checkpoints]
        if not steps or steps != sorted(set(steps)):
            raise CheckpointError(
                f"a CheckpointSet needs one or more checkpoints in rising steps, got steps {steps}",
                "list the folders in training order, each once",
            )

    @property
    def fingerprint(self) -> str:
        """Identity of the trace: the content hashes that each folder's COMPLETE.json, or the adoption, records."""
        found: list[Any] = [[c.step, dict(c.files) or _hashes(c.uri)] for c in self.checkpoints]
        return storage.fingerprint([*found, _hashes(self.tokenizer)] if self._own_tokenizer else found)

    @property
    def tokenizer(self) -> str:
        """Where the tokenizer lies: in the first checkpoint, or beside the manifest, where that one has none."""
        return storage.join(self.uri, TOKENIZER) if self._own_tokenizer else self.checkpoints[0].uri

    @property
    def _own_tokenizer(self) -> bool:
        return bool(self.config.get(TOKENIZER))

    def save(self, uri: str) -> CheckpointSet:
        """Write the manifest into folder `uri` and return the set that lives there."""
        storage.write_json(storage.join(uri, MANIFEST), {"noun": "CheckpointSet", **_plain(self)})
        return CheckpointSet.load(uri)

    @staticmethod
    def load(uri: str) -> CheckpointSet:
        """Read the manifest of folder `uri`; raises CheckpointError if a checkpoint it names is incomplete."""
        place = storage.join(uri, MANIFEST)
        made = manifests.kind_of(CheckpointSet, place, lambda data: _with_places(uri, data), uri=uri)
        found, adopted = made.checkpoints, bool(made.config.get("adopted"))
        for checkpoint in found:
            if not adopted and not storage.exists(storage.join(checkpoint.uri, COMPLETE)):
                raise CheckpointError(
                    f"checkpoint {checkpoint.uri!r} has no {COMPLETE}: it was not written to its end",
                    "delete the run folder and fine-tune again",
                )
        return made


def seal_checkpoint(folder: Path) -> None:
    """Write COMPLETE.json with the sha256 of every file of a local checkpoint folder; the last act of saving it."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != COMPLETE)
    hashes = {p.relative_to(folder).as_posix(): storage.file_sha256(p) for p in files}
    storage.write_json(str(folder / COMPLETE), {"sha256": hashes})


def verify_checkpoint(uri: str, files: Mapping[str, str] | None = None, *, sealed: bool = False) -> None:
    """Raise CheckpointError, naming the file, if a folder no longer holds what it was sealed with, or adopted as.

    `files`: sha256 by name, as the adoption recorded it; without them the folder's own seal counts. A folder with
    neither has nothing to hold it against: it passes, unless it should be `sealed`.
    """
    if files:
        _compare(uri, files, "was recorded when it was adopted", "restore the file, or adopt the run again")
        _check_nothing_new(uri, files)
        return
    if storage.exists(storage.join(uri, COMPLETE)):
        advice = "delete the run folder and fine-tune again, or restore the file"
        _compare(uri, _hashes(uri), f"is in {COMPLETE}", advice)
    elif sealed:
        raise CheckpointError(
            f"checkpoint {uri!r} has no {COMPLETE}: it was not written to its end",
            "delete the run folder and fine-tune again",
        )


def _compare(uri: str, files: Mapping[str, str], which: str, advice: str) -> None:
    for name, expected in files.items():
        place = storage.join(uri, name)
        if not storage.exists(place) or storage.sha256(place) != expected:
            raise CheckpointError(
                f"checkpoint file {place!r} is missing or damaged (its sha256 differs from what {which})", advice
            )


def _check_nothing_new(uri: str, files: Mapping[str, str]) -> None:
    """Raise CheckpointError for weights that were not there: transformers might take them for the recorded ones."""
    for name in (file.rpartition("/")[2] for file in storage.list_files(uri)):
        if name not in files and is_recorded(name) and name.endswith((".safetensors", ".bin", ".index.json")):
            raise CheckpointError(
                f"the checkpoint folder {uri!r} was adopted without {name!r}, which lies there now",
                "remove the file, or adopt the run again",
            )


def is_recorded(name: str) -> bool:
    """Tell whether a file of a checkpoint folder can matter for what is loaded: not the state to resume training."""
    resume = ("optimizer", "scheduler", "scaler", "rng_state", "training_args.", "trainer_state.", "events.")
    return not name.startswith((*resume, ".", "README"))


def _hashes(uri: str) -> dict[str, str]:
    if not storage.exists(storage.join(uri, COMPLETE)):
        folder = Path(storage.localise(uri))
        return {p.name: storage.file_sha256(p) for p in sorted(folder.glob("*")) if p.is_file()}
    place = storage.join(uri, COMPLETE)
    found = manifests.mapping(place, "sha256")["sha256"]
    with manifests.damaged(place):
        return {str(name): str(value) for name, value in manifests.checked(dict[str, str], found).items()}


def _plain(trace: CheckpointSet) -> dict[str, Any]:
    data = asdict(trace)
    del data["uri"]
    # Relative names, so that a run's folder can be moved; adopted folders lie elsewhere and keep their place.
    data["checkpoints"] = [_row(c, keep=bool(trace.config.get("adopted"))) for c in trace.checkpoints]
    return data


def _row(checkpoint: Checkpoint, keep: bool) -> dict[str, Any]:
    rate = checkpoint.learning_rate
    return {
        "uri": checkpoint.uri if keep else checkpoint.uri.rstrip("/").rpartition("/")[2],
        "step": checkpoint.step,
        "epoch": checkpoint.epoch,
        "learning_rate": None if math.isnan(rate) else rate,
        **({"files": dict(checkpoint.files)} if checkpoint.files else {}),
    }


def _with_places(base: str, data: dict[str, Any]) -> dict[str, Any]:
    """Give the checkpoints of a manifest their whole places, and NaN where nobody knows the learning rate."""
    rows = [
        {
            **row,
            "uri": _resolve(base, row["uri"]),
            "learning_rate": math.nan if row["learning_rate"] is None else row["learning_rate"],
        }
        for row in data["checkpoints"]
    ]
    return {**data, "checkpoints": rows}


def _resolve(base: str, name: str) -> str:
    return name if "://" in name or name.startswith("/") else storage.join(base, name)
