"""Record the logits of one worker's training forwards, epoch by epoch, in bounded memory."""

from __future__ import annotations

import tempfile
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from torch import Tensor

from raysample.core import storage
from raysample.core.errors import TrainingError
from raysample.training import Examples, TrainingSchedule
from raysample.training.capture.files import (
    CAPTURE_BLOCK_ROWS,
    CAPTURE_FOLDER,
    CAPTURE_MANIFEST,
    capture_schema,
    drop_after,
    file,
    whole_epochs,
)


class Recorder:
    """Receives one worker's logits step by step and writes a Parquet file at the end of every complete epoch.

    The current epoch is in an unnamed file on the local disk, from which it is written in row order. In memory are four
    bytes per training row, and one row group while it is written. The local file is lost with the worker, so a run with
    capture resumes at the end of an epoch only (`fine_tuning.resume`).

    Args:
        folder: the folder of the CheckpointSet.
        data: all training rows.
        layout: schedule of the training.
        classes: logits per row.
        rank: of this worker; rank 0 also deletes the manifest of an earlier capture, and epochs that will be repeated.
        start: steps made before, complete epochs.

    Raises:
        TrainingError: the training is shorter than an epoch.
    """

    def __init__(
        self, folder: str, data: Examples, layout: TrainingSchedule, classes: int, rank: int = 0, start: int = 0
    ) -> None:
        if not whole_epochs(layout):
            raise TrainingError(
                f"{layout.steps} steps are less than an epoch ({layout.steps_per_epoch} steps), and a capture holds "
                "whole epochs",
                "train for an epoch or more, or set fine_tune.capture: false",
            )
        self.uri, self.data, self.rank = storage.join(folder, CAPTURE_FOLDER), data, rank
        self.per_epoch, self.last = layout.steps_per_epoch, whole_epochs(layout) * layout.steps_per_epoch
        self.schema = capture_schema(classes)
        self.steps = np.zeros(len(data), np.int32)
        with tempfile.TemporaryFile(prefix="raysample-capture-") as scratch:
            self.logits = np.memmap(scratch, np.float32, "w+", shape=(len(data), classes))
        if rank == 0:
            storage.remove(storage.join(self.uri, CAPTURE_MANIFEST))
            drop_after(self.uri, start // self.per_epoch)

    def __call__(self, rows: NDArray[np.int64], logits: Tensor, step: int) -> None:
        """Record the logits [B, C] of training rows [B] at a step, counted from 1.

        Must be called for every step, also without rows: the step number ends the epochs.

        Raises:
            TrainingError: a row occurs twice in an epoch.
        """
        if step > self.last:
            return
        again = rows[self.steps[rows] > 0]
        if len(again):
            raise TrainingError(
                f"the row {self.data.ids[again[0]]!r} came twice in one epoch, at the steps {self.steps[again[0]]} "
                f"and {step}",
                "please report this; do not use the run",
            )
        self.steps[rows] = step
        self.logits[rows] = logits.detach().float().cpu().numpy()
        if step % self.per_epoch == 0:
            self._write(step // self.per_epoch)
            self.steps[:] = 0

    def _write(self, epoch: int) -> None:
        """Write the file of one epoch, in row order."""
        places = np.flatnonzero(self.steps)

        def write(stream: IO[bytes]) -> None:
            """Write the epoch's rows into a stream, block by block."""
            with pq.ParquetWriter(stream, self.schema, compression="zstd") as writer:
                for start in range(0, len(places), CAPTURE_BLOCK_ROWS):
                    writer.write_table(self._table(places[start : start + CAPTURE_BLOCK_ROWS], epoch))

        storage.write_file(file(self.uri, epoch, self.rank), write)

    def _table(self, places: NDArray[np.int64], epoch: int) -> pa.Table:
        """Return some rows of one epoch in the schema of a capture."""
        return pa.table(
            {
                "row_id": pa.array(self.data.ids[places], pa.string()),
                "label": self.data.labels[places].astype(np.int32),
                "place": places,
                "step": self.steps[places],
                "epoch": np.full(len(places), epoch, np.int32),
                "logits": pa.FixedSizeListArray.from_arrays(
                    pa.array(self.logits[places].ravel()), self.logits.shape[1]
                ),
            },
            self.schema,
        )
