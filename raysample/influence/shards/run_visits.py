"""One run in memory: the models of its checkpoints, and the prepared references at each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from raysample import models
from raysample.core.numerics.batches import token_batches
from raysample.core.numerics.precision import device, resolve
from raysample.core.numerics.to_device import moved
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.row_sampling import row_keys
from raysample.influence import landmarks, references
from raysample.influence.scores import Score
from raysample.influence.scores.base import ScoreColumns
from raysample.influence.scores.reference import Reference
from raysample.influence.shards.job import ScoreJob, request
from raysample.influence.shards.model_cache import ModelCache, Models
from raysample.influence.visits.artifacts import Need
from raysample.influence.visits.sweep import score_block
from raysample.influence.visits.visit import collect
from raysample.models import Encoded


class Run:
    """Visits the checkpoints of one CheckpointSet; visited models stay on the device, or take turns there.

    If the cache holds all models, a mini-batch visits all of them before the next mini-batch; else a block visits model
    after model. The numbers are the same.
    """

    def __init__(self, job: ScoreJob, checkpoint_set: CheckpointSet, pad_id: int, cache: ModelCache) -> None:
        self.checkpoint_set, self.pad_id, self.batch_tokens = checkpoint_set, pad_id, job.config.budget
        self.by_loop = job.config.method == "loop"
        # Looked up on the worker: the driver may have no GPU, and Ray hides the GPUs that a worker did not request.
        self.device = device()
        self.models = Models(checkpoint_set, job.model, self.device, cache)
        self.autocast = resolve(job.config.precision, self.models[-1], self.device)
        self.request = request(job, checkpoint_set.uri)
        self._loaded: dict[tuple[int, frozenset[Reference]], references.Loaded] = {}

    def columns(self, encoded: Encoded, rows: pa.Table, scores: Mapping[str, Score[Any]]) -> ScoreColumns:
        """Return each score of each row at this run's checkpoints, float32 [rows]."""
        return score_block(
            self.models if self.models.stay else self.models.__getitem__,
            self.checkpoint_set.checkpoints,
            encoded,
            row_labels(rows),
            scores,
            pad=lambda batch: models.pad(encoded, batch, self.pad_id),
            batch_tokens=self.batch_tokens,
            device=self.device,
            autocast=self.autocast,
            references=self._prepared,
            keys=row_keys(rows["row_id"]),
            by_loop=self.by_loop,
        )

    def descriptors(self, encoded: Encoded, rows: pa.Table, extra: ScoreColumns) -> landmarks.Descriptors:
        """Return the descriptors of each row: from one forward at the last checkpoint, plus `extra` columns."""
        labels = row_labels(rows)
        found: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}
        for batch in token_batches(encoded.lengths, self.batch_tokens):
            inputs = moved(models.pad(encoded, batch, self.pad_id), self.device)
            gold = torch.from_numpy(labels[batch]).to(self.device)
            seen = collect(self.models[-1], inputs, gold, Need.LOGITS | Need.FEATURES, autocast=self.autocast)
            assert seen.features is not None
            pairs = zip(seen.logits.cpu().numpy(), seen.features.cpu().numpy(), strict=True)
            found.update(zip(batch.tolist(), pairs, strict=True))
        logits, features = (np.stack([found[row][part] for row in range(len(labels))]) for part in (0, 1))
        return landmarks.describe_rows(logits, features, labels, encoded.lengths, extra)

    def _prepared(self, at: int, wanted: frozenset[Reference]) -> references.Loaded:
        """Return the references `wanted` at checkpoint `at`, cached; only the newest if models take turns."""
        if (at, wanted) not in self._loaded:
            if not self.models.stay:
                self._loaded.clear()
            names = sorted(wanted, key=lambda reference: reference.key)
            loaded = references.load_reference(self.request, names, self.checkpoint_set.checkpoints[at], self.device)
            self._loaded[at, wanted] = loaded
        return self._loaded[at, wanted]


def row_labels(rows: pa.Table) -> NDArray[np.int64]:
    """Return the labels of rows as int64 [rows]."""
    found: NDArray[np.int64] = rows["label"].to_numpy().astype(np.int64)
    return found
