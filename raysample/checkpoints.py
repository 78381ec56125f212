"""Checkpoint and CheckpointSet: the ordered trace of one fine-tuning run, as plain `save_pretrained` folders."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from raysample import storage
from raysample.errors import CheckpointError

MANIFEST = "checkpoints.json"
COMPLETE = "COMPLETE.json"


@dataclass(frozen=True)
class Checkpoint:
    """One saved model of a run: where it is, and when in the training it was taken.

    `epoch` is fractional (step / steps per epoch); `learning_rate` is the encoder's at that step.
    """

    uri: str
    step: int
    epoch: float
    learning_rate: float


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
    """

    checkpoints: tuple[Checkpoint, ...]
    labels: tuple[str, ...]
    seed: int
    corpus: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    uri: str = ""

    def __post_init__(self) -> None:
        steps = [checkpoint.step for checkpoint in self.checkpoints]
        if not steps or steps != sorted(set(steps)):
            raise CheckpointError(
                f"a CheckpointSet needs one or more checkpoints in rising steps, got steps {steps}",
                "list the folders in training order, each once",
            )

    @property
    def fingerprint(self) -> str:
        """Identity of the trace: the content hashes that each folder's COMPLETE.json records."""
        return storage.fingerprint([[c.step, _hashes(c.uri)] for c in self.checkpoints])

    def save(self, uri: str) -> CheckpointSet:
        """Write the manifest into folder `uri` and return the set that lives there."""
        storage.write_json(storage.join(uri, MANIFEST), {"noun": "CheckpointSet", **_plain(self)})
        return CheckpointSet.load(uri)

    @staticmethod
    def load(uri: str) -> CheckpointSet:
        """Read the manifest of folder `uri`; raises CheckpointError if a checkpoint it names is incomplete."""
        data = storage.read_json(storage.join(uri, MANIFEST))
        rows = data["checkpoints"]
        found = tuple(Checkpoint(**{**row, "uri": _resolve(uri, row["uri"])}) for row in rows)
        adopted = bool(data["config"].get("adopted"))
        for checkpoint in found:
            if not adopted and not storage.exists(storage.join(checkpoint.uri, COMPLETE)):
                raise CheckpointError(
                    f"checkpoint {checkpoint.uri!r} has no {COMPLETE}: it was not written to its end",
                    "delete the run folder and fine-tune again",
                )
        return CheckpointSet(
            found, tuple(data["labels"]), data["seed"], data["corpus"], data["config"], data["metrics"], uri
        )


def seal(folder: Path) -> None:
    """Write COMPLETE.json with the sha256 of every file of a local checkpoint folder; the last act of saving it."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != COMPLETE)
    hashes = {p.relative_to(folder).as_posix(): storage.file_sha256(p) for p in files}
    storage.write_json(str(folder / COMPLETE), {"sha256": hashes})


def verify(uri: str, *, sealed: bool = False) -> None:
    """Raise CheckpointError, naming the file, if a sealed folder no longer holds what it was sealed with.

    A folder that raysample did not write (an adopted one) has no seal, and nothing to hold it against: it passes,
    unless it should be `sealed`.
    """
    if not storage.exists(storage.join(uri, COMPLETE)):
        if sealed:
            raise CheckpointError(
                f"checkpoint {uri!r} has no {COMPLETE}: it was not written to its end",
                "delete the run folder and fine-tune again",
            )
        return
    for name, expected in _hashes(uri).items():
        place = storage.join(uri, name)
        if not storage.exists(place) or storage.sha256(place) != expected:
            raise CheckpointError(
                f"checkpoint file {place!r} is missing or damaged (its sha256 differs from {COMPLETE})",
                "delete the run folder and fine-tune again, or restore the file",
            )


def _hashes(uri: str) -> dict[str, str]:
    if not storage.exists(storage.join(uri, COMPLETE)):
        folder = Path(storage.localise(uri))
        return {p.name: storage.file_sha256(p) for p in sorted(folder.glob("*")) if p.is_file()}
    data = storage.read_json(storage.join(uri, COMPLETE))
    return {str(name): str(value) for name, value in data["sha256"].items()}


def _plain(trace: CheckpointSet) -> dict[str, Any]:
    data = asdict(trace)
    del data["uri"]
    if not trace.config.get("adopted"):
        # Relative names, so that a run's folder can be moved; adopted folders lie elsewhere and keep their place.
        data["checkpoints"] = [{**asdict(c), "uri": c.uri.rstrip("/").rpartition("/")[2]} for c in trace.checkpoints]
    return data


def _resolve(base: str, name: str) -> str:
    return name if "://" in name or name.startswith("/") else storage.join(base, name)
