"""Score a log by its unique contents: score contents without scores, then write a table of all contents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from raysample.core import storage
from raysample.core.config import ScoreConfig, SourceConfig
from raysample.core.errors import ScoreError
from raysample.core.map_fn import MapFn
from raysample.data.corpus import describe_source
from raysample.data.log import Contents
from raysample.data.log.join import Join, Known, span
from raysample.data.score_table import SCORES_MANIFEST, ScoreTable
from raysample.data.score_table_layout import PARTS_PREFIX
from raysample.influence.scores import create_scores
from raysample.influence.shards import ensure_statistics
from raysample.workflow.context import RunContext
from raysample.workflow.missing_shards import check_losses
from raysample.workflow.score import made_by, score_corpus
from raysample.workflow.score_identity import ScoringPlan, checkpoints_fingerprint, tell_changes
from raysample.workflow.score_request import ScoreRequest

BACKLOG = "backlog"
SHARD_ROWS = 2_048


def score_contents(
    request: ScoreRequest, contents: Contents, context: RunContext, *, retry: bool = False
) -> ScoreTable:
    """Update the score table of a log's contents: only contents without scores are visited.

    Scores of the existing table with the same checkpoints and definitions are reused. Texts of contents to be scored
    are stored below the table's folder during the work, and deleted at the end.

    Args:
        request: as for `score_corpus`.
        contents: the result of `compact`.
        context: executor, reporter and tracker.
        retry: also score contents that could not be scored before.

    Raises:
        ScoreError: a score depends on other rows of the corpus, which grows every day; or as `score_corpus`.
    """
    check_alone(request.config)
    labels = request.checkpoint_sets[0].labels
    plan = ScoringPlan.from_request(request, contents.fingerprint, request.describe_targets(labels))
    tell_changes(plan, request.folder, context.reporter)
    of, map_fn = len(contents.parts), context.executor.map
    join = Join(contents, labels, _known(plan, request.folder, of, map_fn), tuple(plan.definitions))
    backlog = _backlog(join, request.folder, map_fn, retry)
    new, cost = 0, dict[str, float]()
    if backlog is not None:
        place = storage.join(request.folder, BACKLOG)
        corpus = describe_source(backlog, storage.join(place, "corpus"), labels=labels, shard_rows=SHARD_ROWS)
        new = corpus.rows
        context.reporter.say(f"  {new:,} of {contents.counts['contents']:,} contents are new")
        # The limit on quarantined rows is checked later, for the whole log.
        lenient = request.config.model_copy(update={"max_quarantined": 1.0})
        fresh = replace(request, config=lenient, folder=storage.join(place, "scores"))
        cost = score_corpus(fresh, corpus, context).cost
        join = replace(join, known=join.known.union(_spare(plan, request.folder, of, map_fn)))
    else:
        context.reporter.say(f"  all {contents.counts['contents']:,} contents were scored before")
    table = _table(join, plan, request, map_fn, {**cost, "new_contents": new})
    _tidy(table)
    return table


def check_alone(config: ScoreConfig) -> None:
    """Raise ScoreError for settings that need a whole corpus: a log's contents are scored incrementally."""
    for column, score in create_scores(config.scores).items():
        if any(reference.of_corpus for reference in score.references):
            raise ScoreError(
                f"the score {column!r} compares a row with others of its corpus, and a log's contents are scored as "
                "they come",
                f"leave {column!r} out here, or score a fixed part of the log as a corpus",
            )
    for name, given in (("landmarks", config.landmarks), ("economy", config.economy)):
        if given is not None:
            raise ScoreError(f"score.{name} is fitted to one corpus; a log grows", f"leave score.{name} out here")
    if config.source == "capture":
        raise ScoreError("logits were captured of training rows alone", "set score.source: checkpoints for the log")


def _known(plan: ScoringPlan, folder: str, of: int, map_fn: MapFn) -> Known:
    """Return the reusable scores of a plan: of the existing table, and of an interrupted update."""
    result = _spare(plan, folder, of, map_fn)
    if not storage.exists(storage.join(folder, SCORES_MANIFEST)):
        return result
    table = ScoreTable.load(folder)
    if not table.counted:
        raise ScoreError(f"{folder!r} holds the scores of a corpus, not of a log's contents", "give another folder")
    if table.made_by["sources"] != plan.sources:
        return result
    return Known.from_table(table, of).union(result)


def _spare(plan: ScoringPlan, folder: str, of: int, map_fn: MapFn) -> Known:
    """Return the finished parts of a backlog. Parts are named by their content, so all of them are valid."""
    place = storage.join(folder, BACKLOG, "scores", plan.parts)
    files = storage.list_files(place, ".parquet") if storage.exists(place) else []
    return Known.from_files((found for found in map_fn(span, files) if found is not None), of)


def _backlog(join: Join, folder: str, map_fn: MapFn, retry: bool) -> SourceConfig | None:
    """Write the texts of contents without scores and return them as a source; None if there are none."""
    place = storage.join(folder, BACKLOG, "texts")
    storage.remove(place)
    counts = map_fn(partial(join.missing, target=place, retry=retry), range(join.of))
    if not sum(counts):
        return None
    found = join.contents.as_source()
    columns, rule = found.columns.model_copy(update={"group": None}), found.labels.model_copy(update={"origin": "gold"})
    return SourceConfig(path=place, format="parquet", columns=columns, labels=rule, max_quarantined=1.0)


def _table(
    join: Join, plan: ScoringPlan, request: ScoreRequest, map_fn: MapFn, cost: Mapping[str, float]
) -> ScoreTable:
    """Write the table's parts from all known scores, and return the table."""
    contents = join.contents
    parts = f"{plan.parts}-{contents.fingerprint[:12]}"
    written = list(map_fn(partial(join.write, target=storage.join(request.folder, parts)), range(join.of)))
    scored, lost = (sum(found) for found in zip(*written, strict=True))
    counts = {"in": contents.counts["contents"], "scored": scored, "quarantined": lost}
    check_losses(counts["quarantined"], counts["in"], request.config, storage.join(request.folder, parts))
    table = ScoreTable(
        request.folder,
        tuple(f"{parts}/part-{at:05d}.parquet" for at in range(join.of)),
        plan.definitions,
        join.labels,
        contents.fingerprint,
        checkpoints_fingerprint(request.checkpoint_sets),
        counts,
        {
            **made_by(plan, request),
            "copies": contents.counts["usable"],
            "label_origin": contents.source.labels.origin,
        },
        dict(cost),
        contents.grouped,
        counted=True,
    )
    ensure_statistics(table, map_fn)
    return table.save()


def _tidy(table: ScoreTable) -> None:
    """Delete the backlog, texts included, and parts of earlier updates."""
    storage.remove(storage.join(table.uri, BACKLOG))
    for name in storage.folders(table.uri):
        if name.startswith(PARTS_PREFIX) and not table.parts[0].startswith(f"{name}/"):
            storage.remove(storage.join(table.uri, name))
