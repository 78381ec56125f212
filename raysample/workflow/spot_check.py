"""The check at the end of a scoring: a handful of rows by the slow twin, before the manifest makes a table whole."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from raysample.core import storage
from raysample.data.score_table import MANIFEST, ScoreTable
from raysample.influence.shards import ScoreJob
from raysample.influence.verification.spot import affordable, check_spot, spot_check, verifiable
from raysample.workflow.context import RunContext


def verified(table: ScoreTable, job: ScoreJob, context: RunContext) -> ScoreTable:
    """Return a table with what a few of its rows came to when they were scored again; what was told before is kept.

    Raises:
        ScoreError: they came to something else: there is no table then.
    """
    rows = affordable(job.config.verify_rows, table.counts["scored"])
    if not rows or not verifiable(job):
        return table
    known = _known(table)
    if known is not None:
        return replace(table, verified=known)
    found = context.executor.once(partial(spot_check, table, job, rows))
    check_spot(found, table)
    context.reporter.say(f"  {describe_spot_check(found.to_dict())}")
    return replace(table, verified=found.to_dict(), cost={**table.cost, "verify_seconds": found.seconds})


def describe_spot_check(verified: dict[str, object]) -> str:
    """Say what a table tells of its verification."""
    differences = verified["differences"]
    assert isinstance(differences, dict)
    column = max(differences, key=lambda name: differences[name])
    return (
        f"{verified['rows']} rows scored again one by one in float64: largest relative difference "
        f"{differences[column]:.1g} ({column})"
    )


def _known(table: ScoreTable) -> dict[str, object] | None:
    """Return what the same table was found to be before."""
    if not storage.exists(storage.join(table.uri, MANIFEST)):
        return None
    before = ScoreTable.load(table.uri)
    same = before.made_by.get("key") == table.made_by["key"] and before.parts == table.parts
    return before.verified if same and before.verified else None
