"""`verify`: compare a finished table of the run with the slow reference implementation."""

from __future__ import annotations

from raysample.core.config import RunConfig
from raysample.core.progress import Reporter
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.execution.local import LocalExecutor
from raysample.influence.verification import Verification, verify_table
from raysample.workflow.context import RunContext
from raysample.workflow.opening import hold_run_folder
from raysample.workflow.run import Pipeline
from raysample.workflow.score_request import ScoreRequest


def verify_run(config: RunConfig, reporter: Reporter, rows: int, seed: int) -> tuple[ScoreTable, Verification]:
    """Score a seeded sample of the finished table's rows again; return the table and what differs."""
    with hold_run_folder(config, reporter):
        pipeline = Pipeline(config, RunContext(LocalExecutor(), reporter))
        table, train = pipeline.table(), Corpus.load(pipeline.run_folder.train)
        request = pipeline.request(pipeline.checkpoint_sets(), pipeline.score_config(train))
        return table, verify_finished(request, table, train, rows, seed, reporter)


def verify_finished(
    request: ScoreRequest, table: ScoreTable, corpus: Corpus, rows: int, seed: int, reporter: Reporter | None
) -> Verification:
    """Score a seeded sample of the rows of a table that this request made again, and return the differences."""
    parts = table.parts[0].rpartition("/")[0]
    return verify_table(table, request.job(corpus, parts), rows=rows, seed=seed, reporter=reporter)
