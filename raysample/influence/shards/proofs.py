"""When a model must be proved to process every row by itself, and where the proof is stored: beside a table's parts.

The folder of the parts is named after everything the numbers depend on (checkpoints, scores, method), so a proof in it
holds for exactly these; a corpus that grew finds it again. The worker that prepares a scoring makes the proof, once.
"""

from __future__ import annotations

from dataclasses import asdict

from raysample.core import storage
from raysample.core.progress import Say
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.influence.shards.agreement import AgreementRequest, NothingSeenError, compare_visits
from raysample.influence.shards.columns import ColumnScorer
from raysample.influence.shards.isolation import PROBED
from raysample.influence.shards.job import ScoreJob
from raysample.influence.shards.model_cache import ModelCache
from raysample.influence.shards.probe_rows import probes
from raysample.influence.shards.run_visits import Run
from raysample.influence.visits.artifacts import Need

PROOF_FILE, TRIES_FILE = "proof.json", "proof-tries.json"
MAX_PROOF_DEATHS = 3
"""Workers that may die during the proof before it is skipped: `crash_counter` finds rows that kill workers."""


def due(job: ScoreJob) -> bool:
    """Return whether the proof for the visits of a job is missing."""
    return not storage.exists(storage.join(job.folder, PROOF_FILE))


def prove(job: ScoreJob, say: Say) -> None:
    """Compare visits at the first and the last checkpoint of each run that the scores use, and store the result.

    Raises:
        UnsupportedModelError: a model returns other values for a row if it is scored with other rows.
        ModelError: a model does not match its tokenizer, or cannot be loaded.
    """
    corpus = Corpus.load(job.corpus)
    if not due(job) or not corpus.rows:
        return
    marker = storage.join(job.folder, TRIES_FILE)
    tried = int(storage.read_json(marker)["tries"]) if storage.exists(marker) else 0
    if tried >= MAX_PROOF_DEATHS:
        say(f"  not proved that the model sees every row for itself: {tried} workers died over it")
        return
    storage.write_json(marker, {"tries": tried + 1})
    try:
        found = _proved(job, corpus, tried)
    finally:
        storage.remove(marker)  # an error is no death
    if found is not None:
        storage.write_json(storage.join(job.folder, PROOF_FILE), {"visits": found})


def _proved(job: ScoreJob, corpus: Corpus, tried: int) -> list[dict[str, object]] | None:
    """Return the largest difference of every comparison.

    None if no row could be compared (scoring quarantines them).
    """
    columns = ColumnScorer(job)
    rows = probes(corpus, columns, tried)
    if rows is None:
        return None
    found: list[dict[str, object]] = []
    for run in columns.runs or _of_captures(job, columns):
        for at, request in _requests(job, columns, run.checkpoint_set).items():
            step = run.checkpoint_set.checkpoints[at].step
            where = f"the checkpoint at step {step} of {run.checkpoint_set.uri!r}"
            try:
                worst = compare_visits(run.models[at], rows, run.pad_id, request, run.device, where)
            except NothingSeenError:
                if corpus.rows < PROBED:
                    return None  # so few rows can all be odd
                raise
            if worst is None:
                return None
            found.append({"trace": run.checkpoint_set.fingerprint, "step": step, **asdict(worst)})
    return found


def _of_captures(job: ScoreJob, columns: ColumnScorer) -> list[Run]:
    """Return the runs with captured logits, each with one model at a time.

    Training computed the captured logits in mini-batches of the same model, so the same proof applies.
    """
    pad_id = int(columns.tokenizer.pad_token_id)
    return [
        Run(job, checkpoint_set, pad_id, ModelCache(1))
        for checkpoint_set in columns.captured
        if checkpoint_set.checkpoints
    ]


def _requests(job: ScoreJob, columns: ColumnScorer, checkpoint_set: CheckpointSet) -> dict[int, AgreementRequest]:
    """Return, for the first and the last checkpoint that scores use, what is compared there."""
    last = len(checkpoint_set.checkpoints) - 1
    if columns.captured:
        return {last: AgreementRequest(Need.LOGITS)}
    loop = job.config.method == "loop"
    used = {name: frozenset(score.select(checkpoint_set.checkpoints)) for name, score in columns.scores.items()}
    found = {}
    for at in sorted({min(places := frozenset[int]().union(*used.values())), max(places)}):
        here = [score for name, score in columns.scores.items() if at in used[name]]
        needs, objectives = Need.LOGITS, frozenset[str]()
        for score in here:
            needs, objectives = needs | score.needs, objectives | score.objectives
        found[at] = AgreementRequest.from_needs(needs, objectives, loop, any(score.by_loop for score in here))
    return found
