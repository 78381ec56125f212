"""The reason why each row was kept or pruned, as text, for many rows at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysample.data.identity import NO_GROUP
from raysample.selection.stages import StageDecision, Threshold


def reasons(judged: StageDecision, thresholds: Sequence[Threshold], name: str) -> pa.Array:
    """Return `hard(vog): key 1.73 >= threshold 0.42 in stratum 'all'` for every row, [n] string.

    For an arm with several steps, the text names the step that decided: `window(vog): the hardest 0.1: key ...`. Strata
    that are kept or pruned as a whole, and groups, have texts of their own without a threshold.
    """
    stratum = pa.array(judged.stratum)
    edge = np.array([np.nan if t.key is None else t.key for t in thresholds], np.float32)[judged.stratum]
    by_lot = (judged.key == edge) & np.array([bool(t.tie) for t in thresholds])[judged.stratum]
    case = pa.array(np.where(judged.kept, 0, 1) + np.where(by_lot, 2, 0))
    relation = pa.array([" >= ", " < ", " = ", " = "]).take(case)
    tie = pa.array(["", "", " (tie kept by lot)", " (tie pruned by lot)"]).take(case)
    against = pa.array([_threshold(t) for t in thresholds], pa.string()).take(stratum)
    heads = pa.array([": ".join(part for part in (name, t.step) if part) for t in thresholds], pa.string())
    key = pc.cast(pa.array(judged.key), pa.string())
    compared = pc.binary_join_element_wise(heads.take(stratum), ": key ", key, relation, against, tie, "")
    flat = pa.array([f"{head}: {_all_or_nothing(t)}" for head, t in zip(heads.to_pylist(), thresholds, strict=True)])
    text = pc.if_else(pc.is_null(against), flat.take(stratum), compared)
    by_group = np.array([t.stratum == NO_GROUP for t in thresholds], bool)[judged.stratum]
    if not by_group.any():
        return text
    place = pa.array([": one of the first of its group", ": not one of the first of its group"])
    of_group = pc.binary_join_element_wise(heads.take(stratum), place.take(pa.array(np.where(judged.kept, 0, 1))), "")
    return pc.if_else(pa.array(by_group), of_group, text)


def _threshold(threshold: Threshold) -> str | None:
    """Return a threshold as text; None if its stratum was taken or left as a whole."""
    if threshold.key is None:
        return None
    return f"threshold {np.float32(threshold.key)} in stratum {threshold.name!r}"


def _all_or_nothing(threshold: Threshold) -> str:
    """Return the reason for a stratum that was taken or left as a whole."""
    what = "all" if threshold.kept else "none"
    return f"{what} of the {threshold.rows} rows of stratum {threshold.name!r} kept"
