"""Scores folded over captured logits, epoch by epoch, by the same folds as over checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysample.core.errors import ScoreError
from raysample.data.checkpoint_set import Checkpoint
from raysample.data.corpus import Corpus
from raysample.influence.capture.read import CaptureReader, capture_reader
from raysample.influence.scores import Score
from raysample.influence.scores.base import ScoreColumns, ScoresByColumn
from raysample.influence.visits.artifacts import Artifacts, Need
from raysample.training.capture.files import CAPTURE_BLOCK_ROWS, Capture


def check_captured_scores(scores: ScoresByColumn) -> None:
    """Raise ScoreError, naming it, for a score that needs more than a capture holds: logits and class shares.

    Learning rates are more: a captured forward belongs to a step of a whole batch, not to a step of one row.
    """
    for column, score in scores.items():
        lacking = _lacking(score)
        if lacking:
            raise ScoreError(
                f"the score {column!r} needs {lacking}, and a capture holds nothing but logits",
                f"set score.source: checkpoints, or leave {column!r} out",
            )


def _lacking(score: Score[Any]) -> str:
    """Describe what a score needs beyond a capture; empty if nothing."""
    beyond = [str(need.name) for need in Need if need in score.needs and need != Need.LOGITS]
    beyond += [f"a {reference.kind}" for reference in score.references if reference.kind != "priors"]
    if not beyond and _goes_by_learning_rates(score):
        beyond = ["learning rates"]
    return " and ".join(beyond)


def _goes_by_learning_rates(score: Score[Any]) -> bool:
    """Return whether a fold reads `Checkpoint.learning_rate`: whether NaN there changes its value."""

    def value(rate: float) -> Tensor:
        """Return the score of one row after a few made-up epochs, all with one learning rate, [1]."""
        state = score.init()
        for step in range(1, max(score.min_checkpoints, 2) + 1):
            logits, shares = torch.tensor([[1.0, 0.5 * step, -1.0]]), torch.full((3,), 1 / 3)
            seen = _seen(score, torch.tensor([0]), logits, shares.log())
            state = score.fold(state, seen, Checkpoint("", step, float(step), rate))
        return score.value(state)

    return not torch.allclose(value(1.0), value(float("nan")), equal_nan=True)


def score_capture(folder: str, corpus: Corpus, scores: ScoresByColumn) -> ScoreColumns:
    """Fold scores over the captured logits of all rows of a corpus, in its order; see `fold_columns`."""
    parts = []
    for shard in corpus.shards:
        rows = corpus.read(shard.index)
        parts.append(fold_columns(folder, rows["row_id"], rows["label"].to_numpy().astype(np.int64), scores))
    return {column: np.concatenate([part[column] for part in parts]) for column in scores}


def fold_columns(
    folder: str, row_ids: pa.Array | pa.ChunkedArray, labels: NDArray[np.integer[Any]], scores: ScoresByColumn
) -> ScoreColumns:
    """Fold scores over the captured logits of some rows.

    Args:
        folder: the folder of the CheckpointSet.
        row_ids: strings [rows], in any order.
        labels: [rows], equal to those of the training.
        scores: column -> score.

    Returns:
        column -> float32 [rows]; NaN if a value is not finite.

    Raises:
        ScoreError: a score needs more than logits, or a row was not in the training.
        ProvenanceError: a row or its label differs from the training.
        CheckpointError: a score's window holds too few epochs.
    """
    check_captured_scores(scores)
    capture = Capture.load(folder)
    reader = capture_reader(folder, capture.fingerprint)
    blocks = [
        _block(reader, row_ids[start : start + CAPTURE_BLOCK_ROWS], labels[start : start + CAPTURE_BLOCK_ROWS], scores)
        for start in range(0, len(row_ids), CAPTURE_BLOCK_ROWS)
    ]
    nothing = np.empty(0, np.float32)
    return {column: np.concatenate([nothing, *(block[column] for block in blocks)]) for column in scores}


def _block(
    reader: CaptureReader, row_ids: pa.Array | pa.ChunkedArray, labels: NDArray[np.integer[Any]], scores: ScoresByColumn
) -> ScoreColumns:
    """Fold scores over the captured logits of one block of rows; memory holds one epoch of the block at a time."""
    checkpoints = reader.capture.checkpoints
    used = {column: frozenset(score.select(checkpoints)) for column, score in scores.items()}
    states = {column: score.init() for column, score in scores.items()}
    places = reader.places(row_ids)
    gold = torch.from_numpy(labels.astype(np.int64))
    for k in sorted(frozenset[int]().union(*used.values())):
        logits = torch.tensor(reader.logits(k + 1, places, row_ids, labels))
        for column, score in scores.items():
            if k in used[column]:
                seen = _seen(score, gold, logits, reader.log_shares)
                states[column] = score.fold(states[column], seen, checkpoints[k])
    return {column: _finite(score.value(states[column])) for column, score in scores.items()}


def _seen(score: Score[Any], labels: Tensor, logits: Tensor, log_shares: Tensor) -> Artifacts:
    """Return captured logits [B, C] as the artifacts of a visit."""
    mask = torch.ones(len(labels), 1, dtype=torch.bool)
    priors = {reference.key: {"log_p": log_shares} for reference in score.references}
    return Artifacts(labels, mask, logits, reference=priors)


def _finite(values: Tensor) -> NDArray[np.float32]:
    """Return the values as float32 [B]; NaN replaces infinities."""
    found = values.float().numpy()
    return np.where(np.isfinite(found), found, np.float32(np.nan))
