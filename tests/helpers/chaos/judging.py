"""Two tables of one study, and the quarantine against what is known to be broken: what was lost, doubled or changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raysample.data.score_table import ScoreTable
from raysample.data.simulated.broken import UNSCORABLE
from tests.helpers.chaos.study import SCORES, Study

NOT_FINITE = f"not finite: {', '.join(SCORES)}"
KEYS = ("file", "row", "stage", "reason")


def mistakes(study: Study, calm: ScoreTable, disturbed: ScoreTable, report: Mapping[str, Any]) -> dict[str, int]:
    """Return how often each thing happened that faults must not do; `report`: what `ordeal.run` returned."""
    found = differences(calm, disturbed)
    quarantine = misjudged(study, Path(disturbed.uri))
    return {
        "faults that did not happen": len(report["missed"]),
        "rows lost": found["lost"],
        "rows doubled": found["doubled"],
        "cells that differ": abs(found["differing"]),
        "broken rows that the quarantine lacks": quarantine["missing"],
        "rows wrongly in quarantine": quarantine["wrong"],
        "shards redone needlessly": len(report["redone"]),
    }


def losses(report: Mapping[str, Any]) -> dict[str, int]:
    """Return what was lost and what came instead."""
    lost = {fault["node"] for fault in report["faults"] if "node" in fault}
    joined = {fault["joined"] for fault in report["faults"] if "joined" in fault}
    return {
        "processes killed": sum(1 if "pid" in fault else len(fault.get("pids", ())) for fault in report["faults"]),
        "nodes lost": len(lost),
        "nodes that joined": len(joined),
        "of these seen scoring": len(joined & set(report["scored"])),
        "of these lost again": len(joined & lost),
        "nodes that died by themselves": len(report["fallen"]),
        "drivers killed": sum(fault["kind"] == "driver" for fault in report["faults"]),
    }


def differences(one: ScoreTable, other: ScoreTable) -> dict[str, int]:
    """Return how many rows of `one` are lost in `other`, are there twice or foreign, and how many cells are others."""
    here, there = one.to_arrow(), other.to_arrow()
    ids, found = here["row_id"].to_pylist(), there["row_id"].to_pylist()
    lost, foreign = set(ids) - set(found), set(found) - set(ids)
    told = {"lost": len(lost), "doubled": len(found) - len(set(found)) + len(foreign)}
    if lost or told["doubled"]:
        return {**told, "differing": -1}
    a, b = here.sort_by("row_id"), there.sort_by("row_id")
    return {**told, "differing": sum(_unequal(a[name], b[name]) for name in a.column_names)}


def _unequal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> int:
    """Return how many values differ in any bit."""
    a, b = (column.to_numpy(zero_copy_only=False) for column in (one, other))
    if a.dtype == np.float32:
        a, b = a.view(np.uint32), b.view(np.uint32)
    return int((a != b).sum()) if one.type == other.type else len(a)


def misjudged(study: Study, output: Path) -> dict[str, int]:
    """Return how many broken rows the quarantine lacks, and how many rows it holds otherwise than it must."""
    must = {(*row, NOT_FINITE if reason == UNSCORABLE else reason) for *row, reason in _rows(study.truth)}
    found = quarantined(study, output)
    return {"missing": len(must - set(found)), "wrong": len(set(found) - must) + len(found) - len(set(found))}


def quarantined(study: Study, output: Path) -> list[tuple[Any, ...]]:
    """Return every row in quarantine, of the corpus and of the scores: file, row, stage, reason."""
    tables = [pq.read_table(study.folder / "corpus" / "quarantine")]
    tables += [pq.read_table(path) for path in sorted(output.rglob("quarantine-*.parquet"))]
    rows = [row for table in tables for row in _rows(table)]
    return [(file.removeprefix(f"{study.log}/"), *rest) for file, *rest in rows]


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(table[key].to_pylist() for key in KEYS), strict=True))
