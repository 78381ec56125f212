"""The steps of a run on its log: compact, score new contents, sample, expand scores to every row."""

from __future__ import annotations

from collections.abc import Iterator

from raysample.core import storage
from raysample.core.config import LogConfig, ScoreConfig
from raysample.core.errors import ConfigError
from raysample.data import log as logs
from raysample.data.corpus import Corpus
from raysample.data.log import Contents
from raysample.data.score_table import SCORES_MANIFEST, ScoreTable
from raysample.influence.label_origin import describe_label_origin
from raysample.selection import Selection, write_selection
from raysample.workflow.budgets import arm_budgets
from raysample.workflow.run import Pipeline
from raysample.workflow.score_contents import check_alone, score_contents
from raysample.workflow.score_request import ScoreRequest
from raysample.workflow.selections import map_for


def compacted(pipeline: Pipeline) -> Contents:
    """Update the log's contents and track them."""
    config = _config(pipeline)
    pipeline.context.reporter.say("compact")
    params = pipeline.params("compact", window=config.window, label_origin=config.source.labels.origin)
    with pipeline.context.tracker.run("compact", params) as run:
        result = logs.compact_log(
            config.source, pipeline.run_folder.contents, window=config.window, map_fn=pipeline.context.executor.map
        )
        run.dataset("log", result.uri, result.fingerprint, "scoring")
        run.metrics({f"log_{name}": value for name, value in {**result.counts, **result.update}.items()})
    return result


def scored(pipeline: Pipeline, *, retry: bool = False) -> ScoreTable:
    """Update the scores of the log's contents; with `retry` also contents that could not be scored before."""
    run_folder, checkpoint_sets = pipeline.run_folder, pipeline.checkpoint_sets()
    config = _score_config(pipeline)
    check_alone(config)
    found = compacted(pipeline)
    pipeline.context.reporter.say("score the log")
    origin = found.source.labels.origin
    params = pipeline.params("score-log", n_train=found.counts["contents"], label_origin=origin)
    with pipeline.context.tracker.run("score-log", params) as run:
        request = ScoreRequest(checkpoint_sets, config, pipeline.config.model, run_folder.log_scores)
        table = score_contents(request, found, pipeline.context.within(run), retry=retry)
        run.dataset("log", found.uri, found.fingerprint, "scoring")
        counts = {f"{name}_rows": table.counts[name] for name in ("scored", "quarantined")}
        run.metrics(counts, step=table.counts["in"])
        run.metrics({f"cost_{name}": value for name, value in table.cost.items()})
        run.artifact(storage.join(table.uri, SCORES_MANIFEST))
    if origin != "gold":
        pipeline.context.reporter.say(f"  {describe_label_origin(origin, table.scores)}")
    return table


def expanded(pipeline: Pipeline) -> ScoreTable:
    """Write a score table for every row of the log from the scores of its contents."""
    table, found = _table(pipeline), Contents.load(pipeline.run_folder.contents)
    return logs.expand_log(table, found, pipeline.run_folder.log_rows, map_fn=pipeline.context.executor.map)


def selections(pipeline: Pipeline) -> Iterator[tuple[str, Selection, ScoreTable]]:
    """Select among the log's contents with every arm at `sample.budget`; yield title, selection and table."""
    config, run_folder = pipeline.config, pipeline.run_folder
    if config.sample.budget in (None, "auto"):
        raise ConfigError(
            f"sample.budget is {config.sample.budget}: a log is not compared, so nothing tells how much to keep of it",
            "set sample.budget to a share (0.3), a count of contents, or {tokens: N}",
        )
    table, seed = _table(pipeline), config.compare.seeds[0]
    map_fn = map_for(table, pipeline.context.executor)
    for one in arm_budgets(config.sample, config.compare.arms, run_folder):
        uri = run_folder.log.pruned(one.arm, one.name, seed)
        chosen = write_selection(table, one.arm.fixed, uri, **one.budget, seed=seed, map_fn=map_fn)
        kept, rows = chosen.counts["kept"], table.counts["scored"]
        yield f"{one.arm.name}: {kept:,} of {rows:,} contents ({kept / rows:.1%})", chosen, table


def _config(pipeline: Pipeline) -> LogConfig:
    """Return the log's configuration; raises ConfigError if there is none."""
    if pipeline.config.log is None:
        raise ConfigError(
            "the configuration has no log", "add log: {source: {path: ..., columns: {text: ..., label: ...}}}"
        )
    return pipeline.config.log


def _table(pipeline: Pipeline) -> ScoreTable:
    """Return the score table of the log's contents; raises ConfigError if it does not exist."""
    _config(pipeline)
    if not storage.exists(storage.join(pipeline.run_folder.log_scores, SCORES_MANIFEST)):
        raise ConfigError("the log has no scores yet", "run `raysample score --log` with this configuration first")
    return ScoreTable.load(pipeline.run_folder.log_scores)


def _score_config(pipeline: Pipeline) -> ScoreConfig:
    """Return the log's score configuration: with `score.economy`, the windows chosen on the training rows."""
    config = pipeline.config.score
    if config.economy is None:
        return config
    settled = pipeline.score_config(Corpus.load(pipeline.run_folder.train))
    if settled is config:
        raise ConfigError(
            "score.economy has not chosen checkpoints yet", "run `raysample score` on the training rows first"
        )
    return settled.model_copy(update={"economy": None})
