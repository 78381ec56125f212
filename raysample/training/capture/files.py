"""The files of a capture: `capture/epoch-001/rank-00.parquet` for each complete epoch and worker, `capture.json` last.

Within a file the rows have the order of the training rows, so that the rows of a shard are adjacent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc

from raysample.core import manifests, storage
from raysample.core.errors import ScoreError, StorageError, TrainingError
from raysample.data.checkpoint_set import Checkpoint
from raysample.training import TrainingSchedule

CAPTURE_FOLDER = "capture"
CAPTURE_MANIFEST = "capture.json"
# Rows of a Parquet row group, and of a block that is folded: the rows in memory at a time.
CAPTURE_BLOCK_ROWS = 4_096


def capture_schema(classes: int) -> pa.Schema:
    """Return the Arrow schema of a capture over C classes.

    `row_id`, `label`, `place` (position among the training rows), `step` (from 1), `epoch` (1 for the first), and
    `logits`, float32 [C].
    """
    plain = [("row_id", pa.string()), ("label", pa.int32()), ("place", pa.int64()), ("step", pa.int32())]
    return pa.schema([*plain, ("epoch", pa.int32()), ("logits", pa.list_(pa.float32(), classes))])


@dataclass(frozen=True)
class Capture:
    """The capture of a fine-tuning with `fine_tune.capture: true`, in folder `uri`.

    Attributes:
        uri: the folder of the capture, in that of the CheckpointSet.
        rows: training rows; each has one entry per epoch.
        classes: logits per row.
        epochs: complete epochs.
        steps_per_epoch: optimiser steps of an epoch.
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
        """Read the capture of the CheckpointSet in `folder`.

        Raises:
            ScoreError: there is none.
            StorageError: its manifest is damaged, or names no file of an epoch.
        """
        uri = storage.join(folder, CAPTURE_FOLDER)
        if not storage.exists(storage.join(uri, CAPTURE_MANIFEST)):
            raise ScoreError(
                f"the run {folder!r} captured no logits: it has no {CAPTURE_FOLDER}/{CAPTURE_MANIFEST}",
                "fine-tune with fine_tune.capture: true (in another run folder), or set score.source: checkpoints",
            )
        place = storage.join(uri, CAPTURE_MANIFEST)
        result = manifests.kind_of(Capture, place, uri=uri)
        for epoch in range(1, result.epochs + 1):
            if not result.files(epoch):
                raise StorageError(f"{place!r} names no file of epoch {epoch}", manifests.RESTORE_ADVICE)
        return result

    @property
    def fingerprint(self) -> str:
        """Identity by the content of the files."""
        return storage.fingerprint(self.sha256)

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """The epochs as checkpoints."""
        return passes(self.epochs, self.steps_per_epoch, self.uri)

    def files(self, epoch: int) -> list[str]:
        """Return the URIs of the files of one epoch, 1 for the first."""
        start = _epoch("", epoch) + "/"
        return [storage.join(self.uri, name) for name in sorted(self.sha256) if name.startswith(start)]

    def verify(self) -> None:
        """Raise ScoreError, naming the file, if a file is missing or changed."""
        for name, expected in self.sha256.items():
            uri = storage.join(self.uri, name)
            if not storage.exists(uri) or storage.sha256(uri) != expected:
                raise ScoreError(
                    f"the captured logits {uri!r} are missing or changed since they were written",
                    "restore the file, or delete the run's folder and fine-tune again",
                )


def checkpoints(folder: str) -> tuple[Checkpoint, ...]:
    """Return the captured epochs of the CheckpointSet in `folder` as checkpoints, for windows and counts.

    Epoch e has the step that it ends with. It has no learning rate of its own: that is NaN.
    """
    return Capture.load(folder).checkpoints


def passes(epochs: int, steps_per_epoch: int, uri: str = "") -> tuple[Checkpoint, ...]:
    """Return the result of `checkpoints` after a training of this many complete epochs."""
    return tuple(
        Checkpoint(_epoch(uri, e), step=e * steps_per_epoch, epoch=float(e), learning_rate=float("nan"))
        for e in range(1, epochs + 1)
    )


def whole_epochs(layout: TrainingSchedule) -> int:
    """Return the number of complete epochs of a training.

    An epoch cut short by a fixed number of steps is not captured.
    """
    return layout.steps // layout.steps_per_epoch


def drop_after(uri: str, epoch: int) -> None:
    """Delete the captures of later epochs by an earlier run: another number of workers would leave stale files."""
    for name in storage.folders(uri):
        if name > _epoch("", epoch):
            storage.remove(storage.join(uri, name))


def seal_capture(folder: str, rows: int, classes: int, layout: TrainingSchedule) -> Capture:
    """Write the manifest of the captures of all workers, after the training.

    Args:
        folder: the folder of the CheckpointSet.
        rows: number of training rows.
        classes: logits per row.
        layout: schedule of the training.

    Raises:
        TrainingError: a row is missing or duplicated in an epoch.
    """
    uri, epochs = storage.join(folder, CAPTURE_FOLDER), whole_epochs(layout)
    hashes: dict[str, str] = {}
    for epoch in range(1, epochs + 1):
        names = storage.list_files(_epoch(uri, epoch), ".parquet")
        no_row = capture_schema(classes).empty_table().select(["row_id"])
        ids = pa.concat_tables([no_row, *(storage.read_parquet(name, ["row_id"]) for name in names)])["row_id"]
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
    storage.write_json(storage.join(uri, CAPTURE_MANIFEST), {"noun": "Capture", **data})
    return found


def presentations(folder: str) -> Iterator[tuple[Checkpoint, pa.Table]]:
    """Yield each captured epoch with its rows in training order: by step, then by position among the training rows.

    Args:
        folder: the folder of the CheckpointSet.
    """
    found = Capture.load(folder)
    for epoch, at in enumerate(found.checkpoints, start=1):
        rows = pa.concat_tables([storage.read_parquet(name) for name in found.files(epoch)])
        yield at, rows.sort_by([("step", "ascending"), ("place", "ascending")])


def file(uri: str, epoch: int, rank: int) -> str:
    """Return the URI of one worker's file of one epoch (1 for the first) of the capture in `uri`."""
    return storage.join(_epoch(uri, epoch), f"rank-{rank:02d}.parquet")


def _epoch(uri: str, epoch: int) -> str:
    """Return the folder of one epoch."""
    return storage.join(uri, f"epoch-{epoch:03d}")
