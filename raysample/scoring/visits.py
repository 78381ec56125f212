"""One run in memory: the models of its checkpoints, and what the scores need from elsewhere at each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from raysample import checkpoints, landmarks, model, references, storage
from raysample.artifacts import Need, collect
from raysample.checkpoints import CheckpointSet
from raysample.config import ModelConfig
from raysample.model import Encoded
from raysample.numerics.batches import token_batches
from raysample.numerics.precision import device, resolve
from raysample.references import row_keys
from raysample.scores import Score
from raysample.scores.reference import Reference
from raysample.scoring.job import ScoreJob, request
from raysample.sweep import score_block

Values = dict[str, NDArray[np.float32]]


class Models(Sequence[nn.Module]):
    """The models of a run's checkpoints on a device; each is checked and loaded when it is first visited, and stays."""

    def __init__(self, trace: CheckpointSet, spec: ModelConfig, device: str) -> None:
        self.trace, self.spec, self.device = trace, spec, device
        self._loaded: dict[int, nn.Module] = {}

    def __len__(self) -> int:
        return len(self.trace.checkpoints)

    @overload
    def __getitem__(self, at: int) -> nn.Module: ...
    @overload
    def __getitem__(self, at: slice) -> list[nn.Module]: ...
    def __getitem__(self, at: int | slice) -> nn.Module | list[nn.Module]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        place = range(len(self))[at]
        if place not in self._loaded:
            folder = storage.localise(self.trace.checkpoints[place].uri)
            checkpoints.verify(folder)
            found = model.load(folder, trust_remote_code=self.spec.trust_remote_code, freeze=self.spec.freeze)
            self._loaded[place] = found.to(self.device)
        return self._loaded[place]


class Run:
    """Visits the checkpoints of one CheckpointSet; those that a score looks at stay on the device."""

    def __init__(self, job: ScoreJob, trace: CheckpointSet, pad_id: int) -> None:
        self.trace, self.pad_id, self.batch_tokens = trace, pad_id, job.config.batch_tokens
        # Asked here, not by the driver, whose machine may have no GPU; Ray hides those that were not asked for.
        self.device = device()
        self.models = Models(trace, job.model, self.device)
        self.autocast = resolve(job.config.precision, self.models[-1], self.device)
        self.request = request(job, trace.uri)
        self._loaded: dict[tuple[int, frozenset[Reference]], references.Loaded] = {}

    def columns(self, encoded: Encoded, rows: pa.Table, scores: Mapping[str, Score[Any]]) -> Values:
        """Return each score of each row at this run's checkpoints."""
        return score_block(
            self.models,
            self.trace.checkpoints,
            encoded,
            labels_of(rows),
            scores,
            pad=lambda batch: model.pad(encoded, batch, self.pad_id),
            batch_tokens=self.batch_tokens,
            device=self.device,
            autocast=self.autocast,
            references=self._prepared,
            keys=row_keys(rows["row_id"]),
        )

    def descriptors(self, encoded: Encoded, rows: pa.Table, extra: Values) -> landmarks.Descriptors:
        """Return what one forward at the last checkpoint says about each row, beside `extra` columns of it."""
        labels = labels_of(rows)
        found: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}
        for batch in token_batches(encoded.lengths, self.batch_tokens):
            inputs = {name: v.to(self.device) for name, v in model.pad(encoded, batch, self.pad_id).items()}
            gold = torch.from_numpy(labels[batch]).to(self.device)
            seen = collect(self.models[-1], inputs, gold, Need.LOGITS | Need.FEATURES, autocast=self.autocast)
            assert seen.features is not None
            pairs = zip(seen.logits.cpu().numpy(), seen.features.cpu().numpy(), strict=True)
            found.update(zip(batch.tolist(), pairs, strict=True))
        logits, features = (np.stack([found[row][part] for row in range(len(labels))]) for part in (0, 1))
        return landmarks.describe_rows(logits, features, labels, encoded.lengths, extra)

    def _prepared(self, at: int, wanted: frozenset[Reference]) -> references.Loaded:
        if (at, wanted) not in self._loaded:
            names = sorted(wanted, key=lambda reference: reference.key)
            loaded = references.load(self.request, names, self.trace.checkpoints[at], self.device)
            self._loaded[at, wanted] = loaded
        return self._loaded[at, wanted]


def labels_of(rows: pa.Table) -> NDArray[np.int64]:
    """Return the labels of rows."""
    found: NDArray[np.int64] = rows["label"].to_numpy().astype(np.int64)
    return found
