"""Scores of single runs, so that every seed of a comparison selects by its own run, not all by the same scores."""

from __future__ import annotations

from dataclasses import replace

from raysample.core import storage
from raysample.data.score_table import ScoreTable
from raysample.tracking import NullTracker
from raysample.workflow.score import score_corpus
from raysample.workflow.score_request import ScoreRequest
from raysample.workflow.selections import ArmSelections


def blocks(runs: int, seeds: int) -> list[list[int]]:
    """Return the run numbers of each block of runs; there are min(runs, seeds) blocks.

    With fewer runs than seeds, seeds use the blocks in turn; with more, a block has several runs.
    """
    count = min(runs, seeds)
    return [list(range(block, runs, count)) for block in range(count)]


def own_scores(request: ScoreRequest, retraining: ArmSelections) -> dict[int, ScoreTable]:
    """Score the corpus once for every block of runs and return each seed's table; empty if all seeds share one table.

    They share it with `compare.own_scores: false`, with a single run or seed, and if no arm reads a score.

    Args:
        request: the scoring of all runs.
        retraining: the comparison whose seeds select by these tables.
    """
    seeds, runs = retraining.config.seeds, request.checkpoint_sets
    if not retraining.config.own_scores or min(len(seeds), len(runs)) < 2 or not retraining.scored_arms():
        return {}
    context = retraining.context.within(NullTracker())
    tables = []
    for block in blocks(len(runs), len(seeds)):
        ours = [runs[run] for run in block]
        name = "-".join(str(run.seed) for run in ours)
        context.reporter.say(f"  scores of run {name.replace('-', ', ')} alone")
        folder = storage.join(retraining.run_folder.own_scores, f"run-{name}")
        tables.append(score_corpus(replace(request, checkpoint_sets=ours, folder=folder), retraining.train, context))
    return {seed: tables[place % len(tables)] for place, seed in enumerate(seeds)}
