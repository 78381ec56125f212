"""The files of a capture: `capture/epoch-001/rank-00.parquet` for each whole epoch and worker, `capture.json` last.

Within a file the rows have the order of the training rows, so that the rows of a shard are found together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc

from raysample.core import manifests, storage
from raysample.core.errors import ScoreError, TrainingError
from raysample.data.checkpoint_set import Checkpoint
from raysample.training import TrainingSchedule

FOLDER = "capture"
MANIFEST = "capture.json"
# Rows of a Parquet row group, and of a block that is folded: per epoch, what is in memory at a time.
GROUP = 4_096


def capture_schema(classes: int) -> pa.Schema:
    """Return the Arrow schema of a capture over C classes.

    `row_id`, `label`, `place` (position among the training rows), `step` (from 1), `epoch` (1 for the first pass), and
    `logits`, float32 [C].
    """
    plain = [("row_id", pa.string()), ("label", pa.int32()), ("place", pa.int64()), ("step", pa.int32())]
    return pa.schema([*plain, ("epoch", pa.int32()), ("logits", pa.list_(pa.float32(), classes))])


@dataclass(frozen=True)
class Capture:
    """What a fine-tuning with `fine_tune.capture: true` left in folder `uri`.

    Attributes:
        uri: the capture's folder, below that of the CheckpointSet.
        rows: training rows; each has one presentation per epoch.
        classes: logits per row.
        epochs: whole passes over the rows.
        steps_per_epoch: optimiser steps of a pass.
        sha256: file name -> hash of its content.
    """

    uri: str
    rows: int
    classes: int
    epochs: int
    steps_per_epoch: int
    sha256: dict[str, str]

    @staticmethod
    def load(folder: str) -> Capture:
        """Read the capture of the CheckpointSet in `folder`; raises ScoreError where there is none."""
        uri = storage.join(folder, FOLDER)
        if not storage.exists(storage.join(uri, MANIFEST)):
            raise ScoreError(
                f"the run {folder!r} captured no logits: it has no {FOLDER}/{MANIFEST}",
                "fine-tune with fine_tune.capture: true (in another run folder), or set score.source: checkpoints",
            )
        return manifests.kind_of(Capture, storage.join(uri, MANIFEST), uri=uri)

    @property
    def fingerprint(self) -> str:
        """Identity by the content of the files."""
        return storage.fingerprint(self.sha256)

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """The epochs in the role of checkpoints."""
        return passes(self.epochs, self.steps_per_epoch, self.uri)

    def files(self, epoch: int) -> list[str]:
        """Return the URIs of the files of one epoch, 1 for the first."""
        start = _epoch("", epoch) + "/"
        return [storage.join(self.uri, name) for name in sorted(self.sha256) if name.startswith(start)]

    def verify(self) -> None:
        """Raise ScoreError, naming the file, if one no longer holds what was captured."""
        for name, expected in self.sha256.items():
            uri = storage.join(self.uri, name)
            if not storage.exists(uri) or storage.sha256(uri) != expected:
                raise ScoreError(
                    f"the captured logits {uri!r} are missing or changed since they were written",
                    "restore the file, or delete the run's folder and fine-tune again",
                )


def checkpoints(folder: str) -> tuple[Checkpoint, ...]:
    """Return the captured epochs of the CheckpointSet in `folder` in the role of checkpoints, for windows and counts.

    Pass e over the rows has epoch e and the step that it ends with. A learning rate does not belong to it: it is NaN.
    """
    return Capture.load(folder).checkpoints


def passes(epochs: int, steps_per_epoch: int, uri: str = "") -> tuple[Checkpoint, ...]:
    """Return what `checkpoints` will return after a training of so many whole epochs."""
    return tuple(
        Checkpoint(_epoch(uri, e), step=e * steps_per_epoch, epoch=float(e), learning_rate=float("nan"))
        for e in range(1, epochs + 1)
    )


def whole_epochs(layout: TrainingSchedule) -> int:
    """Return how many epochs a training ends; one that a fixed number of steps cuts short is not captured."""
    return layout.steps // layout.steps_per_epoch


def drop_after(uri: str, epoch: int) -> None:
    """Delete what an earlier run captured after an epoch: as many workers may not write it again."""
    for name in storage.folders(uri):
        if name > _epoch("", epoch):
            storage.remove(storage.join(uri, name))


def seal_capture(folder: str, rows: int, classes: int, layout: TrainingSchedule) -> Capture:
    """Write the manifest of what all workers captured, after the training.

    Args:
        folder: the CheckpointSet's.
        rows: how many were trained on.
        classes: logits per row.
        layout: of the training.

    Raises:
        TrainingError: in some epoch a row is missing, or there twice.
    """
    uri, epochs = storage.join(folder, FOLDER), whole_epochs(layout)
    hashes: dict[str, str] = {}
    for epoch in range(1, epochs + 1):
        names = storage.list_files(_epoch(uri, epoch), ".parquet")
        ids = pa.concat_tables([storage.read_parquet(name, ["row_id"]) for name in names])["row_id"]
        distinct = pc.count_distinct(ids).as_py()
        if not len(ids) == distinct == rows:
            raise TrainingError(
                f"the capture of epoch {epoch} holds {len(ids)} presentations of {distinct} rows, "
                f"where each of {rows} rows has one",
                "delete the run's folder and fine-tune again; please report it if it happens again",
            )
        hashes |= {name.removeprefix(f"{uri}/"): storage.sha256(name) for name in names}
    found = Capture(uri, rows, classes, epochs, layout.steps_per_epoch, hashes)
    data = {key: value for key, value in asdict(found).items() if key != "uri"}
    storage.write_json(storage.join(uri, MANIFEST), {"noun": "Capture", **data})
    return found


def presentations(folder: str) -> Iterator[tuple[Checkpoint, pa.Table]]:
    """Yield each captured epoch with its rows as they were presented: by step, then by place among the training rows.

    Args:
        folder: the CheckpointSet's.
    """
    found = Capture.load(folder)
    for epoch, at in enumerate(found.checkpoints, start=1):
        rows = pa.concat_tables([storage.read_parquet(name) for name in found.files(epoch)])
        yield at, rows.sort_by([("step", "ascending"), ("place", "ascending")])


def file(uri: str, epoch: int, rank: int) -> str:
    """Return the URI of one worker's file of one epoch (1 for the first) of the capture in `uri`."""
    return storage.join(_epoch(uri, epoch), f"rank-{rank:02d}.parquet")


def _epoch(uri: str, epoch: int) -> str:
    return storage.join(uri, f"epoch-{epoch:03d}")
