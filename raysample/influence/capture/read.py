"""Find the captured logits of given rows without loading a capture into memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from raysample.core import manifests, storage
from raysample.core.arrays import IntArray
from raysample.core.errors import ProvenanceError, ScoreError
from raysample.data.identity import hash_row_ids
from raysample.training.capture.files import Capture


class CaptureReader:
    """Looks up rows in a capture; holds two numbers per training row, and the range of rows of each row group.

    Attributes:
        log_shares: ln of the class shares of the training rows [C], float32; `-inf` for a class without rows.
    """

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        hashes, places, labels = map(np.concatenate, zip(*self._index(), strict=True))
        order = np.argsort(hashes)
        self.hashes, self.by_hash = hashes[order], places[order]
        shares = np.bincount(labels, minlength=capture.classes) / len(labels)
        self.log_shares = torch.from_numpy(shares).log().float()
        self._spans: dict[str, list[tuple[int, int]]] = {}

    def _index(self) -> Iterator[tuple[NDArray[np.uint64], IntArray, NDArray[np.int32]]]:
        """Yield (hashes, positions, labels) of the training rows, file by file."""
        # Every epoch has all rows; the first one gives their positions.
        for uri in self.capture.files(1):
            rows = storage.read_parquet(uri, ["row_id", "place", "label"])
            yield hash_row_ids(rows["row_id"]), rows["place"].to_numpy(), rows["label"].to_numpy()

    def places(self, row_ids: pa.Array | pa.ChunkedArray) -> IntArray:
        """Return the position of each row id among the training rows; raises ScoreError for an unknown id.

        Positions are found by 64-bit hashes; `logits` then compares the row ids themselves.
        """
        wanted = hash_row_ids(row_ids)
        found = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        lost = np.flatnonzero(self.hashes[found] != wanted)
        if len(lost):
            raise ScoreError(
                f"{len(lost)} of {len(wanted)} rows were never presented in the training of {self.capture.uri!r}, "
                f"such as {row_ids[int(lost[0])].as_py()!r}",
                "score the rows that the run was fine-tuned on, or set score.source: checkpoints",
            )
        return self.by_hash[found]

    def logits(
        self, epoch: int, places: IntArray, row_ids: pa.Array | pa.ChunkedArray, labels: NDArray[np.integer[Any]]
    ) -> NDArray[np.float32]:
        """Return the logits [rows, C] of an epoch (1 for the first) at some positions.

        Raises:
            ProvenanceError: a row at a position has another id or label than the given one.
        """
        order = np.argsort(places)
        found = [self._groups(uri, places[order]) for uri in self.capture.files(epoch)]
        rows = pa.concat_tables(found).sort_by("place")
        there = rows["place"].to_numpy()
        at = np.minimum(np.searchsorted(there, places), len(there) - 1)
        held = rows.take(pa.array(at))
        given = pa.chunked_array([row_ids]) if isinstance(row_ids, pa.Array) else row_ids
        same = held["row_id"].to_numpy() == given.to_numpy()
        if not (same & (there[at] == places) & (held["label"].to_numpy() == labels)).all():
            raise ProvenanceError(
                f"epoch {epoch} of the capture {self.capture.uri!r} has other row ids or labels than the scored rows",
                "score the rows that the run was fine-tuned on, or fine-tune again",
            )
        flat: NDArray[np.float32] = held["logits"].combine_chunks().flatten().to_numpy()
        return flat.reshape(len(places), self.capture.classes)

    def _groups(self, uri: str, places: IntArray) -> pa.Table:
        """Return the row groups of a file that contain any of the positions, which are sorted."""
        storage.check_regular(uri)
        fs, path = storage.filesystem(uri)
        with manifests.damaged(uri), fs.open(path, "rb") as stream:
            file = pq.ParquetFile(stream)
            if uri not in self._spans:
                self._spans[uri] = list(_spans(file))
            starts = np.searchsorted(places, [low for low, _ in self._spans[uri]])
            stops = np.searchsorted(places, [high for _, high in self._spans[uri]], "right")
            return file.read_row_groups(np.flatnonzero(starts < stops).tolist(), ["row_id", "label", "place", "logits"])


@lru_cache(maxsize=4)
def capture_reader(folder: str, fingerprint: str) -> CaptureReader:
    """Return the reader of the capture of the CheckpointSet in `folder`; cached per process."""
    del fingerprint  # part of the cache key: a new capture gets a new reader
    return CaptureReader(Capture.load(folder))


def _spans(file: pq.ParquetFile) -> Iterator[tuple[int, int]]:
    """Yield the smallest and largest position of each row group, from the Parquet statistics."""
    column = file.schema_arrow.get_field_index("place")
    for group in range(file.metadata.num_row_groups):
        statistics = file.metadata.row_group(group).column(column).statistics
        yield statistics.min, statistics.max
