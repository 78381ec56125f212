"""When a model must be proved to see every row for itself, and where the proof is kept: beside a table's parts.

The folder of the parts is named by everything the numbers depend on (checkpoints, scores, method), so a proof there is
one for exactly these; a corpus that grew finds it. It is made once, by the worker that prepares a scoring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from raysample.core import storage
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

Say = Callable[[str], None]
FILE, TRIES = "proof.json", "proof-tries.json"
MOST = 3
"""Workers that may die over it: rows that kill workers are for `scoring.attempts` to find, not for a proof."""


def due(job: ScoreJob) -> bool:
    """Tell whether no proof was made yet for what a job visits."""
    return not storage.exists(storage.join(job.folder, FILE))


def prove(job: ScoreJob, say: Say) -> None:
    """Prove it for the first and the last checkpoint of each run that the scores look at, and keep that.

    Raises:
        UnsupportedModelError: a model gives a row other values when it is scored with others.
        ModelError: a model and its tokenizer do not fit, or it cannot be loaded.
    """
    corpus = Corpus.load(job.corpus)
    if not due(job) or not corpus.rows:
        return
    marker = storage.join(job.folder, TRIES)
    tried = int(storage.read_json(marker)["tries"]) if storage.exists(marker) else 0
    if tried >= MOST:
        say(f"  not proved that the model sees every row for itself: {tried} workers died over it")
        return
    storage.write_json(marker, {"tries": tried + 1})
    try:
        found = _proved(job, corpus, tried)
    finally:
        storage.remove(marker)  # what is raised is no death
    if found is not None:
        storage.write_json(storage.join(job.folder, FILE), {"visits": found})


def _proved(job: ScoreJob, corpus: Corpus, tried: int) -> list[dict[str, object]] | None:
    """Return what every comparison came to; None where no row could be looked at: the scoring sets such rows aside."""
    columns = ColumnScorer(job)
    rows = probes(corpus, columns, tried)
    if rows is None:
        return None
    found: list[dict[str, object]] = []
    for run in columns.runs or _of_captures(job, columns):
        for at, asked in _asked(job, columns, run.trace).items():
            step = run.trace.checkpoints[at].step
            where = f"the checkpoint at step {step} of {run.trace.uri!r}"
            try:
                worst = compare_visits(run.models[at], rows, run.pad_id, asked, run.device, where)
            except NothingSeenError:
                if corpus.rows < PROBED:
                    return None  # a few odd rows may well be all there are
                raise
            if worst is None:
                return None
            found.append({"trace": run.trace.fingerprint, "step": step, **asdict(worst)})
    return found


def _of_captures(job: ScoreJob, columns: ColumnScorer) -> list[Run]:
    """Return the runs whose training captured logits, with their last checkpoints: the same model, in mini-batches."""
    pad_id = int(columns.tokenizer.pad_token_id)
    return [Run(job, trace, pad_id, ModelCache(1)) for trace in columns.captured if trace.checkpoints]


def _asked(job: ScoreJob, columns: ColumnScorer, trace: CheckpointSet) -> dict[int, AgreementRequest]:
    """Return what is compared at the first and the last checkpoint that scores look at."""
    last = len(trace.checkpoints) - 1
    if columns.captured:
        return {last: AgreementRequest(Need.LOGITS)}
    loop = job.config.method == "loop"
    used = {name: frozenset(score.select(trace.checkpoints)) for name, score in columns.scores.items()}
    found = {}
    for at in sorted({min(places := frozenset[int]().union(*used.values())), max(places)}):
        here = [score for name, score in columns.scores.items() if at in used[name]]
        needs, objectives = Need.LOGITS, frozenset[str]()
        for score in here:
            needs, objectives = needs | score.needs, objectives | score.objectives
        found[at] = AgreementRequest.from_needs(needs, objectives, loop, any(score.by_loop for score in here))
    return found
