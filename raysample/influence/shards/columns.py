"""Rows of text -> score columns: from visits to the checkpoints of one or more runs, captured logits, or landmarks."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raysample import models
from raysample.core.registry import require_plugins
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.score_table_layout import landmarks_folder
from raysample.influence import capture, landmarks
from raysample.influence.scores import Score, create_scores
from raysample.influence.scores.base import ScoreColumns
from raysample.influence.shards.job import ScoreJob
from raysample.influence.shards.model_cache import ModelCache
from raysample.influence.shards.run_visits import Run, row_labels


class ColumnScorer:
    """The tokenizer, models and landmark regression of a job, in memory; `score_rows` turns rows into columns."""

    def __init__(self, job: ScoreJob) -> None:
        require_plugins(job.plugins)
        self.job = job
        checkpoint_sets = [CheckpointSet.load(uri) for uri in job.checkpoint_sets]
        words, trust = checkpoint_sets[0].tokenizer, job.model.trust_remote_code
        self.tokenizer = models.tokenizer(words, trust_remote_code=trust)
        self.scores = create_scores(job.config.scores)
        self.captured = checkpoint_sets if job.config.source == "capture" else []
        pad_id, cache = int(self.tokenizer.pad_token_id), ModelCache(job.max_resident_models)
        self.runs = (
            [] if self.captured else [Run(job, checkpoint_set, pad_id, cache) for checkpoint_set in checkpoint_sets]
        )
        for run in self.runs:
            models.check_vocabulary(run.models[-1], self.tokenizer, run.checkpoint_set.checkpoints[-1].uri)
        self._tokenising = threading.Lock()

    @cached_property
    def predictor(self) -> landmarks.Fitted:
        """The landmark regression of the predicted scores."""
        return landmarks.Fitted.load(landmarks_folder(self.job.folder))

    def encode(self, rows: pa.Table) -> models.Encoded:
        """Tokenise rows as in fine-tuning; under a lock, since a fast tokenizer is not thread-safe."""
        with self._tokenising:
            return models.encode(self.tokenizer, rows, self.job.model)

    def score_rows(
        self,
        rows: pa.Table,
        encoded: models.Encoded | None = None,
        exact: Mapping[str, Score[Any]] | None = None,
    ) -> tuple[NDArray[np.int32], ScoreColumns]:
        """Return the token count of each row, and each score as float32 [rows]; NaN where a value is not finite.

        Scores from visits are averaged over the runs; rows that repeat are visited once.

        Args:
            rows: rows in the corpus schema.
            encoded: the tokens of the rows, if already known.
            exact: scores to compute from visits in place of all scores of the job.
        """
        encoded = self.encode(rows) if encoded is None else encoded
        if self.captured:
            ids, labels = rows["row_id"], row_labels(rows)
            return encoded.lengths, mean([capture.fold_columns(t.uri, ids, labels, self.scores) for t in self.captured])
        scores = self.visited if exact is None else exact
        block, place = distinct_rows(encoded, rows, scores)
        columns = mean([run.columns(*block, scores) for run in self.runs]) if scores else {}
        columns = columns if place is None else {name: values[place] for name, values in columns.items()}
        if exact is None and self.job.config.landmarks is not None:
            columns |= self.predictor.predict(self.descriptors(encoded, rows, columns))
        return encoded.lengths, columns

    @property
    def visited(self) -> dict[str, Score[Any]]:
        """The scores computed by visits for every row: all but those predicted from landmarks."""
        predicted = () if self.job.config.landmarks is None else self.job.config.landmarks.scores
        return {name: score for name, score in self.scores.items() if name not in predicted}

    def descriptors(self, encoded: models.Encoded, rows: pa.Table, extra: ScoreColumns) -> landmarks.Descriptors:
        """Return the descriptors of each row from one forward at the last checkpoint of the first run."""
        return self.runs[0].descriptors(encoded, rows, extra)


def distinct_rows(
    encoded: models.Encoded, rows: pa.Table, scores: Mapping[str, Score[Any]]
) -> tuple[tuple[models.Encoded, pa.Table], NDArray[np.int64] | None]:
    """Return the rows to visit, and for each row its place among them; None if every row is visited itself.

    Rows with the same tokens and label have the same scores, unless a score compares a row with others by its id.
    """
    if any(score.by_row for score in scores.values()):
        return (encoded, rows), None
    first, place = encoded.distinct(row_labels(rows))
    return (encoded.take(first), rows.take(pa.array(first))), place


def mean(runs: Sequence[ScoreColumns]) -> ScoreColumns:
    """Return the mean of each column over runs, computed in float64.

    The columns of a single run are returned unchanged.
    """
    if len(runs) == 1:
        return dict(runs[0])
    stacked = {name: np.stack([run[name] for run in runs]).astype(np.float64) for name in runs[0]}
    return {name: values.mean(axis=0).astype(np.float32) for name, values in stacked.items()}
