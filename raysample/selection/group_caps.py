"""Caps of a few rows per group, for any number of groups, in two passes.

The first pass counts groups in a sketch, whose cells never undercount: groups below the cap there cannot be cut. The
second pass holds the first rows of the remaining groups. Radix counting, as other steps use it, would need a histogram
per group: nearly as many cells as rows when groups are many and small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from raysample.core.errors import SelectionError
from raysample.core.numerics import count_sketch as sieves
from raysample.core.numerics import radix, top_k
from raysample.data.identity import NO_GROUP
from raysample.selection.policies.base import GlobalStatistics, Rows, row_hash
from raysample.selection.policies.steps import InGroups, Step
from raysample.selection.stages import FATE_OPEN, FATE_PRUNED, Stage, changed, keys, walk

SMALL_CAP = 64
"""Largest cap that this module handles; larger caps use radix counting."""
CAP_BUFFER_ROWS = 1 << 25
"""Maximum number of rows in memory for a cap: keys, tie words and groups take about 700 MB."""
Scan = Callable[[Callable[[Rows], Any]], Iterable[Any]]


def not_dropped(rows: Rows, stages: Sequence[Stage]) -> Rows:
    """Return the rows that no stage has dropped: those kept or still open."""
    return rows.take(np.flatnonzero(walk(stages, rows).fate != FATE_PRUNED)) if stages else rows


def few_per_group(step: Step, stages: Sequence[Stage]) -> bool:
    """Return whether a step caps groups at a few rows, before any step keeps rows."""
    few = step.limit is not None and step.limit.max_rows is not None and step.limit.max_rows <= SMALL_CAP
    return few and isinstance(step.policy, InGroups) and all(stage.step.role == "drop" for stage in stages)


def cap_sketch(scan: Scan, step: Step, stages: Sequence[Stage], rows: int) -> sieves.CountSketch | None:
    """Return a sketch of the groups that a step may cut, from one pass; None for other steps."""
    if not few_per_group(step, stages):
        return None
    assert step.limit is not None
    assert step.limit.max_rows is not None
    # One pass over group codes alone: neither keys nor row ids are computed.
    size = sieves.buckets(rows)
    return sieves.build_sketch(scan(partial(_codes, stages=stages, size=size)), size, step.limit.max_rows)


def _codes(rows: Rows, stages: Sequence[Stage], size: int) -> sieves.SketchCounts:
    """Return the sketch counts of one part's group codes, without rows that have no group."""
    codes = not_dropped(rows, stages).groups
    return sieves.count_codes(codes[codes != NO_GROUP], size)


def capped(scan: Scan, step: Step, known: GlobalStatistics, stages: Sequence[Stage]) -> Stage:
    """Plan a cap: each group keeps its first rows by (key, tie).

    Raises:
        SelectionError: the first rows of all groups do not fit in memory.
    """
    assert step.limit is not None
    assert step.limit.max_rows is not None
    max_rows = step.limit.max_rows
    try:
        best = top_k.merge_top_k(
            scan(partial(_tops, step=step, known=known, stages=stages, max_rows=max_rows)), max_rows, CAP_BUFFER_ROWS
        )
    except ValueError as error:
        raise SelectionError(
            f"{step.name!r} must hold {error} that have more rows than that, {CAP_BUFFER_ROWS:,} fit",
            "lower the cap, or group the rows by something coarser",
        ) from error
    # The stratum NO_GROUP collects rows that no cap can touch; its quota is all of its rows.
    cut = top_k.cut(best, max_rows, NO_GROUP)
    dropped = sum(int((stage.cut.rows - stage.cut.quota).sum()) for stage in stages)
    if int(cut.rows.sum()) != known.total - dropped:
        raise changed()
    return Stage(step, known, cut)


def _tops(rows: Rows, step: Step, known: GlobalStatistics, stages: Sequence[Stage], max_rows: int) -> top_k.Tops:
    """Return one part's first rows of each group, and the number of rows without a group, which no cap cuts."""
    rows = rows.take(np.flatnonzero(walk(stages, rows).fate == FATE_OPEN)) if stages else rows
    group, key = step.policy.strata(rows, known), radix.ordered(keys(rows, step.policy, known))
    among = np.flatnonzero(group != NO_GROUP)
    # Groups that the sketch clears are counted, not held, and their row ids are not hashed.
    best = top_k.tops(group[among], key[among], row_hash(rows.take(among), known), max_rows)
    free = len(group) - len(among)
    return best if not free else top_k.with_free(best, NO_GROUP, free)
