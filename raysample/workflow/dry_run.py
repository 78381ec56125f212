"""Steps that write nothing to the run folder: `plan` and `sample --dry-run` work in a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace

from raysample.core.config import RunConfig
from raysample.core.progress import Reporter
from raysample.data.score_table import ScoreTable
from raysample.execution.create import create_executor
from raysample.execution.local import LocalExecutor
from raysample.selection import Selection
from raysample.workflow import preflight
from raysample.workflow.budgets import select_at_budget
from raysample.workflow.checks import check_plans
from raysample.workflow.choice import chooser_of
from raysample.workflow.context import RunContext
from raysample.workflow.layout import RunFolder
from raysample.workflow.opening import hold_run_folder, silence_libraries
from raysample.workflow.plan import Outlook, outlook
from raysample.workflow.run import Pipeline
from raysample.workflow.selections import ArmSelections


def plan_run(config: RunConfig, reporter: Reporter, rows: int) -> Outlook:
    """Run `rows` rows in a temporary folder and extrapolate time, memory and storage of the whole run."""
    with (
        hold_run_folder(config, reporter) as (run_folder, _),
        create_executor(config.engine) as executor,
        tempfile.TemporaryDirectory(prefix="raysample-plan-") as folder,
    ):
        preflight.check_preflight(config, run_folder, executor, ("fine-tune",))
        pipeline = Pipeline(config, RunContext(executor, reporter))
        corpora = pipeline.corpora()
        train, test = corpora.train, corpora.test
        adopted = None if config.adopt is None else pipeline.adopted(train)
        return outlook(config, train, test, executor.slots(), folder, rows, adopted)


def preview_selections(config: RunConfig, reporter: Reporter) -> Iterator[tuple[str, Selection, ScoreTable]]:
    """Make the selections in a temporary folder; yield a title, the selection, and the table it was made from."""
    silence_libraries()
    run_folder = RunFolder.from_config(config)
    run_folder.check(config)
    check_plans(config)
    pipeline = Pipeline(config, RunContext(LocalExecutor(), reporter))
    with tempfile.TemporaryDirectory(prefix="raysample-dry-run-") as folder:
        retraining = pipeline.retraining()
        chooser = chooser_of(config, retraining.train, RunFolder(folder).at("auto"), retraining.context)
        retraining = replace(retraining, run_folder=RunFolder(folder), chooser=chooser)
        at_budget = config.sample.budget is not None
        selections = select_at_budget(config.sample, retraining, run_folder) if at_budget else _at_fractions(retraining)
        for title, selection in selections:
            yield title, selection, retraining.table


def _at_fractions(retraining: ArmSelections) -> Iterator[tuple[str, Selection]]:
    """Make all selections of the comparison; yield those of the first seed with a title."""
    retraining.select()
    for (arm, fraction, seed), selection in retraining.selections.items():
        if seed == retraining.config.seeds[0]:
            yield f"{arm} at {fraction:.0%}{retraining.describe_draws((arm, fraction, seed))}", selection
