"""Fine-tuning on a new sample in every epoch (`fine_tune.dynamic`): the selections, written before the training."""

from __future__ import annotations

from dataclasses import replace

from raysample.core import storage
from raysample.core.config import DynamicConfig, FineTuneConfig
from raysample.core.errors import ConfigError, ProvenanceError
from raysample.core.map_fn import MapFn
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.influence.scores import SCORES
from raysample.selection import Selection
from raysample.selection.policies import create_policy
from raysample.selection.policies.steps import grouped, policy_columns
from raysample.selection.probe.probe_scores import PROBE_HIGHER_IS
from raysample.selection.redraws import check_draws, check_redraw, draw_seed
from raysample.selection.row_table import write_row_table
from raysample.tracking import Tracker
from raysample.training import schedule_training
from raysample.training.fine_tuning import Job
from raysample.workflow.selections import stored_selection


def check_dynamic(recipe: FineTuneConfig, with_groups: bool = True) -> None:
    """Raise an error for a `fine_tune.dynamic` that cannot be drawn, before any work.

    Args:
        recipe: the recipe of the fine-tuning.
        with_groups: whether the training rows have groups, or may have.

    Raises:
        ConfigError: the policy reads scores and `scores` is not given, or groups that the corpus does not have.
        SelectionError: the policy does not draw, or does not support its settings.
        ScoreError, StorageError: the score table lacks a score, or cannot be read.
    """
    dynamic = recipe.dynamic
    if dynamic is None or dynamic.redraw is None:
        return
    arm, table = dynamic.redraw, None if dynamic.scores is None else ScoreTable.load(storage.absolute(dynamic.scores))
    known = {name: kind.higher_is for name, kind in SCORES.items()} | PROBE_HIGHER_IS
    policy = create_policy(arm, known if table is None else table.higher_is)
    check_redraw(arm.model_copy(update={"redraw": True}), policy)
    if policy_columns(policy) and table is None:
        raise ConfigError(
            f"fine_tune.dynamic draws by {arm.name!r}, which reads {', '.join(policy_columns(policy))}, and names no "
            "scores",
            "set fine_tune.dynamic.scores to the folder of a score table of the training rows (RUN/scores of a run "
            "on them), or choose a policy without a score, such as stratified_random",
        )
    if grouped(policy) and not with_groups:
        raise ConfigError(
            f"fine_tune.dynamic draws by {arm.name!r}, which goes by groups, and corpus.train names no column of them",
            "name it: corpus.columns: {group: ...}",
        )


def with_draws(job: Job, train: Corpus, folder: str, map_fn: MapFn) -> Job:
    """Return a job whose epochs are trained on samples of their own; the job itself without `fine_tune.dynamic.redraw`.

    Args:
        job: the fine-tuning of all rows; its seed is that of the first draw.
        train: its training rows.
        folder: where the selections are written, `seed-0` for the first epoch of seed 0, `seed-0-epoch-2` for the
            second. Those of the same arm, rows and scores are found again.
        map_fn: maps a function over parts of the score table.

    Raises:
        ProvenanceError: the score table is of another corpus.
        SelectionError: the limits of the arm leave fewer rows than the share, or the draws are equal.
    """
    dynamic, seed = job.config.dynamic, job.config.seed
    if dynamic is None or dynamic.redraw is None:
        return job
    table, wanted = _table(dynamic, train, folder, map_fn), dynamic.rows_per_epoch(train.rows)
    names = [f"seed-{seed}", *(f"seed-{seed}-epoch-{epoch}" for epoch in range(2, _epochs(job, wanted) + 1))]
    draws = [
        stored_selection(
            table, dynamic.redraw, storage.join(folder, name), count=wanted, seed=draw_seed(seed, epoch), map_fn=map_fn
        )
        for epoch, name in enumerate(names)
    ]
    check_draws(draws)
    key = storage.fingerprint([job.key, [draw.fingerprint for draw in draws]])
    return replace(job, selection=draws[0].uri, redraws=tuple(draw.uri for draw in draws[1:]), key=key)


def track_draws(run: Tracker, job: Job) -> None:
    """Log the first draw as input of a fine-tuning, with the number of draws; nothing for a job without draws."""
    if job.selection is not None:
        first = Selection.load(job.selection)
        run.dataset(first.name, first.uri, first.fingerprint, "training", {"draws": f"{1 + len(job.redraws)}"})


def _epochs(job: Job, rows: int) -> int:
    """Return the number of passes over `rows` rows that the job makes."""
    return schedule_training(rows, job.config, job.steps).passes


def _table(dynamic: DynamicConfig, train: Corpus, folder: str, map_fn: MapFn) -> ScoreTable:
    """Return the score table that the draws are made from: the given one, or one without scores."""
    if dynamic.scores is None:
        return write_row_table(train, storage.join(folder, "rows"), map_fn)
    table = ScoreTable.load(storage.absolute(dynamic.scores))
    if table.corpus != train.fingerprint:
        raise ProvenanceError(
            f"the score table {table.uri!r} that fine_tune.dynamic names was made from another corpus than "
            f"{train.uri!r}",
            "score the rows that are trained on, and name that table",
        )
    return table
