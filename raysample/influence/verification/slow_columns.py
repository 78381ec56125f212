"""The sources of the slow twin: checkpoints in float64, or captured logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from raysample import models
from raysample.core import storage
from raysample.core.errors import ProvenanceError
from raysample.core.numerics.precision import device
from raysample.data.checkpoint_set import Checkpoint, CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.row_sampling import row_keys
from raysample.influence import references
from raysample.influence.scores.base import ScoresByColumn
from raysample.influence.scores.reference import Reference
from raysample.influence.shards import ScoreJob
from raysample.influence.shards.job import request
from raysample.influence.verification.slow_twin import collect_slowly
from raysample.influence.visits.artifacts import Artifacts, Need
from raysample.training.capture import Capture

Visit = Callable[[int], Artifacts]


class Twin(Protocol):
    """A source of artifacts for the sampled rows, one row at a time."""

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """The checkpoints (or captured epochs), in training order."""
        ...

    def at(self, k: int, scores: ScoresByColumn) -> Visit:
        """Return the function from a row position to the artifacts that some scores need at checkpoint k."""
        ...


class CheckpointTwin:
    """Loads one checkpoint after another, by default in float64, and visits one unpadded row at a time."""

    def __init__(
        self,
        job: ScoreJob,
        checkpoint_set: CheckpointSet,
        rows: pa.Table,
        scores: ScoresByColumn,
        say: Callable[[str], None],
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.dtype = dtype
        self.job, self.checkpoints, self.device = job, checkpoint_set.checkpoints, device()
        self.request = request(job, checkpoint_set.uri)
        # Reuses the references of the scoring, even if their folder was moved.
        references.prepare_references(self.request, _references(scores), say=say)
        tokenizer = models.tokenizer(checkpoint_set.tokenizer, trust_remote_code=job.model.trust_remote_code)
        encoded = models.encode(tokenizer, rows, job.model)
        types: Sequence[Any] = encoded.types or [None] * len(rows)
        self.inputs = [self._alone(ids, kinds) for ids, kinds in zip(encoded.ids, types, strict=True)]
        self.labels = torch.tensor(rows["label"].to_numpy().astype(np.int64), device=self.device)
        self.keys = torch.tensor(row_keys(rows["row_id"]), device=self.device)

    def _alone(self, ids: Any, types: Any) -> dict[str, Tensor]:
        """Return the model inputs of one unpadded row, [1, T] each."""
        tokens = torch.tensor(ids, device=self.device).long()[None]
        inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        return inputs if types is None else {**inputs, "token_type_ids": torch.tensor(types).to(tokens)[None]}

    def at(self, k: int, scores: ScoresByColumn) -> Visit:
        """Load checkpoint k and its references; return the visit of one row."""
        spec, uri = self.job.model, storage.localise(self.checkpoints[k].uri)
        network = models.load_model(uri, trust_remote_code=spec.trust_remote_code, freeze=spec.freeze)
        network = network.to(self.device, self.dtype)
        needs, objectives = Need.LOGITS, frozenset[str]()
        for score in scores.values():
            needs, objectives = needs | score.needs, objectives | score.objectives
        found = references.load_reference(self.request, _references(scores), self.checkpoints[k], self.device)
        tensors = {key: {name: _wide(v) for name, v in values.items()} for key, values in found.tensors.items()}

        def visit(row: int) -> Artifacts:
            """Return the artifacts of one row at the checkpoint."""
            label = self.labels[row : row + 1]
            seen = collect_slowly(network, self.inputs[row], label, needs, objectives, directions=found.directions)
            return replace(seen, reference=tensors, keys=self.keys[row : row + 1])

        return visit


class CaptureTwin:
    """Reads the captured logits of each epoch completely and folds one row at a time in float64."""

    def __init__(self, corpus: Corpus, checkpoint_set: CheckpointSet, rows: pa.Table) -> None:
        self.capture, self.ids = Capture.load(checkpoint_set.uri), rows["row_id"].combine_chunks()
        self.labels = torch.tensor(rows["label"].to_numpy().astype(np.int64))
        counts = torch.tensor(corpus.class_counts, dtype=torch.float64)
        self.log_shares = (counts / counts.sum()).log()

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """The captured epochs."""
        return self.capture.checkpoints

    def at(self, k: int, scores: ScoresByColumn) -> Visit:
        """Read epoch k + 1; return the visit of one row."""
        logits = torch.tensor(self._logits(k + 1), dtype=torch.float64)
        priors = {reference.key: {"log_p": self.log_shares} for s in scores.values() for reference in s.references}

        def visit(row: int) -> Artifacts:
            """Return the artifacts of one row at the epoch, from its captured logits."""
            one = slice(row, row + 1)
            return Artifacts(self.labels[one], torch.ones(1, 1, dtype=torch.bool), logits[one], reference=priors)

        return visit

    def _logits(self, epoch: int) -> Any:
        """Return the captured logits [rows, C] of an epoch in the order of the sampled rows."""
        found = []
        for uri in self.capture.files(epoch):
            rows = storage.read_parquet(uri, ["row_id", "logits"])
            found.append(rows.filter(pc.is_in(rows["row_id"], value_set=self.ids)))
        there = pa.concat_tables(found)
        if len(there) != len(self.ids):
            raise ProvenanceError(
                f"epoch {epoch} of the capture {self.capture.uri!r} has {len(there)} of the {len(self.ids)} rows",
                "score the rows that the run was fine-tuned on",
            )
        places = pc.index_in(self.ids, value_set=there["row_id"].combine_chunks())
        return there.take(places)["logits"].to_pylist()


def _references(scores: ScoresByColumn) -> list[Reference]:
    """Return the references of scores, each once, sorted by key."""
    wanted = {reference for score in scores.values() for reference in score.references}
    return sorted(wanted, key=lambda reference: reference.key)


def _wide(value: Tensor) -> Tensor:
    """Return floating tensors in float64, others unchanged."""
    return value.double() if value.is_floating_point() else value
