"""`explain`: why one row was kept or pruned, as text."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysample.core.errors import SelectionError
from raysample.selection.result import KEPT, Selection


def explain_row(selection: Selection, row_id: str) -> str:
    """Return a row's decision, reason, rank among its competitors, keep probability and weight, as text.

    Raises:
        SelectionError: the selection has no row with this id.
    """
    row = _find(selection, row_id)
    threshold = selection.thresholds[row["stratum"]]
    label = selection.labels[row["label"]]
    kept, rows = selection.kept_class_counts[row["label"]], selection.class_counts[row["label"]]
    share = selection.counts[KEPT] / (selection.counts["in"] - selection.counts["quarantined"])
    lines = [
        f"row {row_id!r} of class {label!r} was {row['decision']} by {selection.name}, seed {selection.seed}, "
        f"which keeps {selection.counts[KEPT]:,} rows ({share:.1%})",
        f"  why: {row['reason'].removeprefix(selection.name).removeprefix(': ')}",
    ]
    if threshold["key"] is not None:
        above, among = _place(selection, row)
        took = f"it takes {threshold['kept']:,} of {threshold['rows']:,}"
        where = f"step {threshold['step']!r}" if threshold["step"] else "the policy"
        lines.append(
            f"  place: {above + 1:,} of the {among:,} rows that {where} decided in {threshold['name']!r}; {took}"
        )
    chance = "not known, since several steps draw" if math.isnan(row["keep_probability"]) else row["keep_probability"]
    shown = chance if isinstance(chance, str) else f"{chance:.4g}"
    lines.append(f"  chance to be kept, over seeds: {shown}; weight in training: {row['weight']:.4g}")
    lines.append(f"  its class: {kept:,} of {rows:,} rows kept")
    return "\n".join(lines)


def _find(selection: Selection, row_id: str) -> dict[str, Any]:
    """Return the row with an id; raises SelectionError if there is none."""
    for table in selection.read():
        found = table.filter(pc.equal(table["row_id"], row_id))
        if found.num_rows:
            row: dict[str, Any] = found.slice(0, 1).to_pylist()[0]
            return row
    raise SelectionError(
        f"the selection {selection.uri!r} has no row {row_id!r}",
        "check the id; rows that were quarantined before scoring are in the corpus's and the score table's quarantine",
    )


def _place(selection: Selection, row: dict[str, Any]) -> tuple[int, int]:
    """Return the number of rows in the same stratum with a higher key, and the number of rows there."""
    above = among = 0
    for table in selection.read(("stratum", "key")):
        stratum_keys = table.filter(pc.equal(table["stratum"], pa.scalar(row["stratum"], pa.int32())))["key"].to_numpy()
        above, among = above + int((stratum_keys > np.float32(row["key"])).sum()), among + len(stratum_keys)
    return above, among
