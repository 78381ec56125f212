"""What comes once, before the shards: the proof that rows do not mix, references, the regression on landmarks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from raysample.core import storage
from raysample.core.config import LandmarksConfig
from raysample.data.corpus import Corpus
from raysample.influence import landmarks, references
from raysample.influence.landmarks.fitted import MANIFEST
from raysample.influence.scores import create_scores
from raysample.influence.scores.reference import Reference
from raysample.influence.shards import proofs
from raysample.influence.shards.columns import ColumnScorer
from raysample.influence.shards.job import ScoreJob, landmarks_folder, request

Say = Callable[[str], None]


def wanted_references(job: ScoreJob) -> tuple[Reference, ...]:
    """Return the references of all scores of a job, each once."""
    found = {reference for score in create_scores(job.config.scores).values() for reference in score.references}
    return tuple(sorted(found, key=lambda reference: reference.key))


def needs_preparing(job: ScoreJob) -> bool:
    """Tell whether a job needs anything prepared, or proved."""
    return proofs.due(job) or bool(wanted_references(job)) or job.config.landmarks is not None


def prepare_scoring(job: ScoreJob, say: Say) -> None:
    """Prove what is not proved, prepare what is missing; finished parts of it are kept.

    Runs on one worker, with a device where there is one. What is prepared, and the landmarks, rests on the proof.

    Raises:
        UnsupportedModelError: a model gives a row other values when it is scored with others.
    """
    proofs.prove(job, say)
    needed = wanted_references(job)
    for trace in job.traces if needed else ():
        references.prepare_references(request(job, trace), needed, say=say)
    if job.config.landmarks is not None and not storage.exists(storage.join(landmarks_folder(job), MANIFEST)):
        _fit(job, job.config.landmarks, say)


def _fit(job: ScoreJob, config: LandmarksConfig, say: Say) -> None:
    """Score the landmarks exactly and fit the regression on what one forward says about them."""
    rows = _landmark_rows(Corpus.load(job.corpus), config)
    columns = ColumnScorer(job)
    exact = {name: columns.scores[name] for name in config.scores}
    encoded = columns.encode(rows)
    # One visit for all scores: the exact ones of every row help to predict the others.
    values = columns.exact(encoded, rows, {**columns.visited, **exact})
    extra = {name: values[name] for name in columns.visited}
    seen = columns.descriptors(encoded, rows, extra)
    wanted = {name: values[name] for name in exact}
    found = landmarks.fit_landmarks(seen, wanted, config, row_ids=rows["row_id"].to_pylist())
    found.save(landmarks_folder(job))
    for name, quality in found.quality.items():
        say(f"  {name} from {len(rows):,} landmarks: rank correlation {quality['spearman']:.3f} on held-out ones")


def _landmark_rows(corpus: Corpus, config: LandmarksConfig) -> pa.Table:
    """Return the sampled rows; shard by shard, so that a large corpus is never whole in memory."""
    ids = pa.chunked_array([corpus.read(shard.index)["row_id"] for shard in corpus.shards]).to_pylist()
    chosen = np.sort(landmarks.draw_landmarks(ids, config.count, config.seed))
    found, start = [], 0
    for shard in corpus.shards:
        here = chosen[(chosen >= start) & (chosen < start + shard.rows)] - start
        start += shard.rows
        if len(here):
            found.append(corpus.read(shard.index).take(pa.array(here)))
    return pa.concat_tables(found)
