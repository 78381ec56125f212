"""The spot check at the end of a scoring: a few rows are scored again by the slow reference implementation."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from raysample.core import storage
from raysample.data.score_table import SCORES_MANIFEST, ScoreTable
from raysample.influence.shards import ScoreJob
from raysample.influence.verification.spot import affordable, check_spot, spot_check, verifiable
from raysample.workflow.context import RunContext


def verified(table: ScoreTable, job: ScoreJob, context: RunContext) -> ScoreTable:
    """Return a table with the result of the spot check; an earlier result for the same table is reused.

    Raises:
        ScoreError: the values differ; the table's manifest is not written then.
    """
    rows = affordable(job.config.verify_rows, table.counts["scored"])
    if not rows or not verifiable(job):
        return table
    known = _known(table)
    if known is not None:
        return replace(table, verified=known)
    checked = context.executor.once(partial(spot_check, table, job, rows))
    check_spot(checked, table)
    context.reporter.say(f"  {describe_spot_check(checked.to_dict())}")
    return replace(table, verified=checked.to_dict(), cost={**table.cost, "verify_seconds": checked.seconds})


def describe_spot_check(verified: dict[str, object]) -> str:
    """Return the result of a spot check as one line."""
    differences = verified["differences"]
    assert isinstance(differences, dict)
    column = max(differences, key=lambda name: differences[name])
    return (
        f"{verified['rows']} rows scored again one by one in float64: largest relative difference "
        f"{differences[column]:.1g} ({column})"
    )


def _known(table: ScoreTable) -> dict[str, object] | None:
    """Return the spot check of an earlier table with the same key and parts, None if there is none."""
    if not storage.exists(storage.join(table.uri, SCORES_MANIFEST)):
        return None
    before = ScoreTable.load(table.uri)
    same = before.made_by.get("key") == table.made_by["key"] and before.parts == table.parts
    return before.verified if same and before.verified else None
