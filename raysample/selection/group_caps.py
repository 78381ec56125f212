"""Caps of a few rows per group, for any number of groups: one pass that sieves, one that holds each group's best rows.

Counting cells as other steps do would hold nearly as many as there are rows where groups are small and many.
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
from raysample.selection.stages import OPEN, PRUNED, Stage, changed, keys, walk

FEW = 64
HELD_ROWS = 1 << 25
"""Rows that a cap may hold: their keys, tie words and groups take some 700 MB."""
Scan = Callable[[Callable[[Rows], Any]], Iterable[Any]]


def not_dropped(rows: Rows, stages: Sequence[Stage]) -> Rows:
    """Return the rows that no stage has dropped."""
    return rows.take(np.flatnonzero(walk(stages, rows).fate != PRUNED)) if stages else rows


def few_per_group(step: Step, stages: Sequence[Stage]) -> bool:
    """Tell whether a step caps groups at a few rows, before anything is kept."""
    few = step.limit is not None and step.limit.most is not None and step.limit.most <= FEW
    return few and isinstance(step.policy, InGroups) and all(stage.step.role == "drop" for stage in stages)


def cap_sketch(scan: Scan, step: Step, stages: Sequence[Stage], rows: int) -> sieves.CountSketch | None:
    """Return what tells the groups that a step may cut; None for steps that need no such thing."""
    if not few_per_group(step, stages):
        return None
    assert step.limit is not None
    assert step.limit.most is not None
    size = sieves.buckets(rows)
    return sieves.build_sketch(scan(partial(_codes, stages=stages, size=size)), size, step.limit.most)


def _codes(rows: Rows, stages: Sequence[Stage], size: int) -> sieves.Counts:
    codes = not_dropped(rows, stages).groups
    return sieves.count_codes(codes[codes != NO_GROUP], size)


def capped(scan: Scan, step: Step, known: GlobalStatistics, stages: Sequence[Stage]) -> Stage:
    """Settle a cap: each group keeps its first rows.

    Raises:
        SelectionError: there are so many groups that their first rows do not fit in memory.
    """
    assert step.limit is not None
    assert step.limit.most is not None
    most = step.limit.most
    try:
        found = top_k.merge_top_k(
            scan(partial(_tops, step=step, known=known, stages=stages, most=most)), most, HELD_ROWS
        )
    except ValueError as error:
        raise SelectionError(
            f"{step.name!r} must hold {error} that have more rows than that, {HELD_ROWS:,} fit",
            "lower the cap, or group the rows by something coarser",
        ) from error
    cut = top_k.cut(found, most, NO_GROUP)
    dropped = sum(int((stage.cut.rows - stage.cut.quota).sum()) for stage in stages)
    if int(cut.rows.sum()) != known.total - dropped:
        raise changed()
    return Stage(step, known, cut)


def _tops(rows: Rows, step: Step, known: GlobalStatistics, stages: Sequence[Stage], most: int) -> top_k.Tops:
    rows = rows.take(np.flatnonzero(walk(stages, rows).fate == OPEN)) if stages else rows
    group, key = step.policy.strata(rows, known), radix.ordered(keys(rows, step.policy, known))
    among = np.flatnonzero(group != NO_GROUP)
    # Those in no danger are counted, not held; only the others' ids must be hashed.
    best = top_k.tops(group[among], key[among], row_hash(rows.take(among), known), most)
    free = len(group) - len(among)
    return best if not free else top_k.with_free(best, NO_GROUP, free)
