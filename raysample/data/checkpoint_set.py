"""Checkpoint and CheckpointSet: the checkpoints of one training run in order, as `save_pretrained` folders."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from raysample.core import manifests, storage
from raysample.core.errors import CheckpointError

CHECKPOINTS_MANIFEST = "checkpoints.json"
COMPLETE = "COMPLETE.json"
TOKENIZER = "tokenizer"


@dataclass(frozen=True)
class Checkpoint:
    """One saved model of a run: where it is, and when in the training it was taken.

    `epoch` is fractional (step / steps per epoch); `learning_rate` is the encoder's at that step, NaN if unknown.
    `files`: file name -> sha256 for an adopted folder; checkpoints that raysample wrote keep them in COMPLETE.json.
    """

    uri: str
    step: int
    epoch: float
    learning_rate: float
    files: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class CheckpointSet:
    """The checkpoints of one run in training order, with the provenance of the run.

    Attributes:
        checkpoints: in training order.
        labels: class names; a label's integer is its index in this list.
        seed: the run's seed.
        corpus: fingerprint of the training corpus; None for adopted runs.
        config: fingerprint-able configuration of the run.
        metrics: evaluation at the end of training.
        warnings: reasons to doubt the trained model, as sentences.

    >>> import raysample
    >>> from raysample.testing import tiny_checkpoints
    >>> made = tiny_checkpoints("run", 3)
    >>> [checkpoint.step for checkpoint in raysample.CheckpointSet.load(made.uri).checkpoints]
    [10, 20, 30]
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
        """Identity of the run: step and sha256 per file of every checkpoint, from COMPLETE.json or the adoption."""
        hashes: list[Any] = [[c.step, dict(c.files) or _hashes(c.uri)] for c in self.checkpoints]
        return storage.fingerprint([*hashes, _hashes(self.tokenizer)] if self._own_tokenizer else hashes)

    @property
    def tokenizer(self) -> str:
        """Folder of the tokenizer: beside the manifest if the run saved it there, else the first checkpoint."""
        return storage.join(self.uri, TOKENIZER) if self._own_tokenizer else self.checkpoints[0].uri

    @property
    def _own_tokenizer(self) -> bool:
        """Whether the tokenizer lies beside the manifest and not in the checkpoints."""
        return bool(self.config.get(TOKENIZER))

    def save(self, uri: str) -> CheckpointSet:
        """Write the manifest into folder `uri` and return the set loaded from there."""
        storage.write_json(storage.join(uri, CHECKPOINTS_MANIFEST), {"noun": "CheckpointSet", **_plain(self)})
        return CheckpointSet.load(uri)

    @staticmethod
    def load(uri: str) -> CheckpointSet:
        """Read the manifest of folder `uri`; raises CheckpointError if one of its checkpoints is incomplete."""
        manifest = storage.join(uri, CHECKPOINTS_MANIFEST)
        checkpoint_set = manifests.kind_of(CheckpointSet, manifest, lambda data: _with_places(uri, data), uri=uri)
        adopted = bool(checkpoint_set.config.get("adopted"))
        for checkpoint in checkpoint_set.checkpoints:
            if not adopted and not storage.exists(storage.join(checkpoint.uri, COMPLETE)):
                raise CheckpointError(
                    f"checkpoint {checkpoint.uri!r} has no {COMPLETE}: it was not written to its end",
                    "delete the run folder and fine-tune again",
                )
        return checkpoint_set


def seal_checkpoint(folder: Path) -> None:
    """Write COMPLETE.json with the sha256 of every file of a local checkpoint folder: the last step of saving it."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != COMPLETE)
    hashes = {p.relative_to(folder).as_posix(): storage.file_sha256(p) for p in files}
    storage.write_json(str(folder / COMPLETE), {"sha256": hashes})


def verify_checkpoint(uri: str, files: Mapping[str, str] | None = None, *, sealed: bool = False) -> None:
    """Raise CheckpointError, naming the file, if a checkpoint folder differs from its recorded sha256 values.

    A folder without recorded values passes unless `sealed`, since there is nothing to compare it with.

    Args:
        uri: the checkpoint folder.
        files: file name -> sha256 as the adoption recorded them; without them COMPLETE.json counts.
        sealed: whether the folder must have a COMPLETE.json.
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
    """Raise CheckpointError for the first file that is missing or has another sha256 than the expected one."""
    for name, expected in files.items():
        place = storage.join(uri, name)
        if not storage.exists(place) or storage.sha256(place) != expected:
            raise CheckpointError(
                f"checkpoint file {place!r} is missing or damaged (its sha256 differs from what {which})", advice
            )


def _check_nothing_new(uri: str, files: Mapping[str, str]) -> None:
    """Raise CheckpointError for weights added after adoption: transformers might load them instead."""
    for name in (file.rpartition("/")[2] for file in storage.list_files(uri)):
        if name not in files and is_recorded(name) and name.endswith((".safetensors", ".bin", ".index.json")):
            raise CheckpointError(
                f"the checkpoint folder {uri!r} was adopted without {name!r}, which lies there now",
                "remove the file, or adopt the run again",
            )


def is_recorded(name: str) -> bool:
    """Return whether a file of a checkpoint folder can affect the loaded model; resume states and logs cannot."""
    resume = ("optimizer", "scheduler", "scaler", "rng_state", "training_args.", "trainer_state.", "events.")
    return not name.startswith((*resume, ".", "README"))


def _hashes(uri: str) -> dict[str, str]:
    """Return file name -> sha256 from COMPLETE.json, or computed from the files of a folder without one."""
    if not storage.exists(storage.join(uri, COMPLETE)):
        folder = Path(storage.localise(uri))
        return {p.name: storage.file_sha256(p) for p in sorted(folder.glob("*")) if p.is_file()}
    place = storage.join(uri, COMPLETE)
    found = manifests.mapping(place, "sha256")["sha256"]
    with manifests.damaged(place):
        return {str(name): str(value) for name, value in manifests.checked(dict[str, str], found).items()}


def _plain(checkpoint_set: CheckpointSet) -> dict[str, Any]:
    """Return a checkpoint set as JSON-able data; checkpoint folders inside the run are stored by relative name."""
    data = asdict(checkpoint_set)
    del data["uri"]
    # Relative names, so that a run's folder can be moved; adopted folders lie elsewhere and keep their place.
    data["checkpoints"] = [_row(c, keep=bool(checkpoint_set.config.get("adopted"))) for c in checkpoint_set.checkpoints]
    return data


def _row(checkpoint: Checkpoint, keep: bool) -> dict[str, Any]:
    """Return one checkpoint as JSON-able data: NaN becomes null, and `keep` stores the absolute URI."""
    rate = checkpoint.learning_rate
    return {
        "uri": checkpoint.uri if keep else checkpoint.uri.rstrip("/").rpartition("/")[2],
        "step": checkpoint.step,
        "epoch": checkpoint.epoch,
        "learning_rate": None if math.isnan(rate) else rate,
        **({"files": dict(checkpoint.files)} if checkpoint.files else {}),
    }


def _with_places(base: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest with absolute checkpoint URIs, and NaN where the learning rate is null."""
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
    """Return an absolute URI for a checkpoint name relative to the manifest's folder."""
    return name if "://" in name or name.startswith("/") else storage.join(base, name)
