"""The steps before the first shard: the proof that rows do not mix, references, the landmark regression."""

from __future__ import annotations

import pyarrow as pa

from raysample.core import storage
from raysample.core.config import LandmarksConfig
from raysample.core.progress import Say
from raysample.core.registry import require_plugins
from raysample.data.corpus import Corpus
from raysample.data.row_sampling import sample_positions
from raysample.data.score_table_layout import landmarks_folder
from raysample.influence import landmarks, references
from raysample.influence.landmarks.draw import landmark_seed
from raysample.influence.landmarks.fitted import LANDMARKS_MANIFEST
from raysample.influence.scores import create_scores
from raysample.influence.scores.reference import Reference
from raysample.influence.shards import proofs
from raysample.influence.shards.columns import ColumnScorer
from raysample.influence.shards.job import ScoreJob, request


def wanted_references(job: ScoreJob) -> tuple[Reference, ...]:
    """Return the references of all scores of a job, each once, sorted by key."""
    found = {reference for score in create_scores(job.config.scores).values() for reference in score.references}
    return tuple(sorted(found, key=lambda reference: reference.key))


def needs_preparing(job: ScoreJob) -> bool:
    """Return whether a job has anything to prepare or to prove."""
    return proofs.due(job) or bool(wanted_references(job)) or job.config.landmarks is not None


def prepare_scoring(job: ScoreJob, say: Say) -> None:
    """Prove what is not proved yet and prepare what is missing; finished steps are kept.

    Runs on one worker, with a device if available. The proof comes first: references and landmarks rely on it.

    Raises:
        UnsupportedModelError: a model returns other values for a row if it is scored with other rows.
    """
    require_plugins(job.plugins)
    proofs.prove(job, say)
    needed = wanted_references(job)
    for checkpoint_set in job.checkpoint_sets if needed else ():
        references.prepare_references(request(job, checkpoint_set), needed, say=say)
    if job.config.landmarks is not None and not storage.exists(
        storage.join(landmarks_folder(job.folder), LANDMARKS_MANIFEST)
    ):
        _fit(job, job.config.landmarks, say)


def _fit(job: ScoreJob, config: LandmarksConfig, say: Say) -> None:
    """Score the landmarks exactly, then fit the regression from descriptors to scores and save it."""
    rows = _landmark_rows(Corpus.load(job.corpus), config)
    columns = ColumnScorer(job)
    exact = {name: columns.scores[name] for name in config.scores}
    encoded = columns.encode(rows)
    # One visit for all scores: the exact ones of every row help to predict the others.
    _, values = columns.score_rows(rows, encoded, {**columns.visited, **exact})
    extra = {name: values[name] for name in columns.visited}
    seen = columns.descriptors(encoded, rows, extra)
    wanted = {name: values[name] for name in exact}
    found = landmarks.fit_landmarks(seen, wanted, config, row_ids=rows["row_id"].to_pylist())
    found.save(landmarks_folder(job.folder))
    for name, quality in found.quality.items():
        say(f"  {name} from {len(rows):,} landmarks: rank correlation {quality['spearman']:.3f} on held-out ones")


def _landmark_rows(corpus: Corpus, config: LandmarksConfig) -> pa.Table:
    """Return the sampled landmark rows; reads shard by shard, so that a large corpus is never fully in memory."""
    chosen = sample_positions(corpus, config.count, landmark_seed(config.seed))
    return pa.concat_tables(
        [corpus.read(shard).take(pa.array(places)) for shard, places in chosen.items() if len(places)]
    )
