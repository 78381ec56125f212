"""Scores of single runs, so that every seed of a comparison selects by a run of its own, not all by the same scores."""

from __future__ import annotations

from raysample.core import storage
from raysample.core.config import RunConfig
from raysample.data.score_table import ScoreTable
from raysample.execution.base import Executor
from raysample.workflow.compare import Retraining
from raysample.workflow.score import score_corpus


def blocks(runs: int, seeds: int) -> list[list[int]]:
    """Deal runs out to seeds: the runs, by number, of each block; there are as many blocks as runs or as seeds.

    With fewer runs than seeds the seeds take the blocks in turn, with more a block has several runs.
    """
    count = min(runs, seeds)
    return [list(range(block, runs, count)) for block in range(count)]


def own_scores(config: RunConfig, retraining: Retraining, engine: Executor) -> dict[int, ScoreTable]:
    """Score the corpus once for every block of runs and return each seed's table; nothing where scores are fixed.

    They are fixed with `compare.own_scores: false`, with a single run or seed, and where no arm goes by a score.
    """
    seeds, traces = config.compare.seeds, retraining.traces
    if not config.compare.own_scores or min(len(seeds), len(traces)) < 2 or not retraining.scored_arms():
        return {}
    dealt = blocks(len(traces), len(seeds))
    tables = []
    for block in dealt:
        ours = [traces[run] for run in block]
        name = "-".join(str(trace.seed) for trace in ours)
        uri = storage.join(retraining.workspace.own_scores, f"run-{name}")
        retraining.reporter.say(f"  scores of run {name.replace('-', ', ')} alone")
        corpus, spec = retraining.train, config.model
        tables.append(score_corpus(ours, corpus, config.score, spec, uri, engine, retraining.reporter))
    return {seed: tables[place % len(tables)] for place, seed in enumerate(seeds)}
