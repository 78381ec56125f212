"""How fast an exact selection is, how much memory it takes, and how both grow with the rows.

A score table is made up: a class (sizes fall as 1/rank), a float32 score and a group (a fifth as many as rows at most,
few of them large) for each row, in parts of 2^20 rows. `hard` with z-scores within classes takes half of them: one pass
for exact moments, two for the threshold; and, timed apart, the whole of `sample`, which also decides every row and
writes decision, weight, chance, key and reason of each. Once more with at most three rows of a group. Every measurement
runs in a process of its own, so that its peak memory is its own. Beside it, on the same files, numpy partitions the
whole column in memory, and DuckDB and Polars, if installed, find the median z-score: one number, without ties broken,
budgets or reasons, so they do less.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness.isolated import peak_mib, run_isolated
from harness.outcome import Figures, Options, finish, print_table, target, version

from raysample.core.config import ArmConfig
from raysample.data.identity import group_codes
from raysample.data.score_table import ScoreTable
from raysample.selection import write_selection
from raysample.selection.sampling import plan_arm
from tests.helpers.selection_tables import save_score_table

PART = 1 << 20
LIMIT = 600
"""Seconds for each measurement."""
HARD = ArmConfig(policy="hard", score="score", normalise="class")


def pieces(rows: int, classes: int) -> Iterator[dict[str, Any]]:
    """Yield the columns of every part of a score table; the same for the same sizes."""
    weight = 1 / np.arange(1, classes + 1)
    for number, start in enumerate(range(0, rows, PART)):
        rng, n = np.random.default_rng([classes, number]), min(PART, rows - start)
        label = rng.choice(classes, n, p=weight / weight.sum())
        group = pa.array((rows // 5 * rng.random(n) ** 3).astype(np.int64)).cast(pa.string())
        yield {
            "row_id": pa.array(np.arange(start, start + n)).cast(pa.string()),
            "label": label,
            "tokens": rng.integers(4, 64, n, dtype=np.int32),
            "group": group,
            "group_code": group_codes(group),
            "score": rng.lognormal(label % 7, 1),
        }


def ours(folder: Path, rows: int) -> Figures:
    """Find the thresholds; then, timed apart, decide every row and write the whole selection."""
    table, began = ScoreTable.load(str(folder)), time.perf_counter()
    plan_arm(table, HARD, 0.5)
    seconds, counting = time.perf_counter() - began, peak_mib()
    began = time.perf_counter()
    kept = write_selection(table, HARD, str(folder / "selection"), fraction=0.5).counts["kept"]
    if kept != round(rows / 2):
        raise AssertionError(f"{kept:,} of {rows:,} rows kept")
    return {"seconds": seconds, "sample": time.perf_counter() - began, "counting_peak_mib": counting}


def capped(folder: Path, _rows: int) -> Figures:
    """Find the thresholds, with at most three rows of a group: a cap per group is a step of its own before them."""
    table, began = ScoreTable.load(str(folder)), time.perf_counter()
    plan_arm(table, HARD.model_copy(update={"cap_per_group": 3}), 0.25)
    return {"seconds": time.perf_counter() - began}


def with_numpy(folder: Path, rows: int) -> Figures:
    """Hold both columns in memory, normalise, partition."""
    began = time.perf_counter()
    table = pq.read_table(folder / "parts", columns=["label", "score"], use_threads=False)
    label, score = table["label"].to_numpy(), table["score"].to_numpy().astype(np.float64)
    count = np.bincount(label)
    mean = np.bincount(label, score) / np.maximum(count, 1)
    std = np.sqrt(np.maximum(np.bincount(label, score * score) / np.maximum(count, 1) - mean * mean, 1e-300))
    z = (score - mean[label]) / std[label]
    np.partition(z, rows // 2)
    return {"seconds": time.perf_counter() - began}


def with_duckdb(folder: Path, _rows: int) -> Figures:
    """Ask for the exact median of the z-scores, with two threads."""
    import duckdb

    parts = f"'{folder}/parts/*.parquet'"
    query = f"""
        WITH m AS (SELECT label, avg(score) AS mean, stddev_pop(score) AS std FROM {parts} GROUP BY label)
        SELECT quantile_disc((score - mean) / std, 0.5) FROM {parts} JOIN m USING (label)
    """
    began = time.perf_counter()
    duckdb.sql("SET threads = 2")
    duckdb.sql(query).fetchall()
    return {"seconds": time.perf_counter() - began}


def with_polars(folder: Path, _rows: int) -> Figures:
    """Ask for the exact median of the z-scores, streaming."""
    import polars

    scanned = polars.scan_parquet(f"{folder}/parts/*.parquet")
    score = polars.col("score").cast(polars.Float64)
    z = (score - score.mean().over("label")) / score.std(ddof=0).over("label")
    began = time.perf_counter()
    scanned.select(z.quantile(0.5, "lower")).collect(engine="streaming")
    return {"seconds": time.perf_counter() - began}


OURS = "raysample"
METHODS: dict[str, Callable[[Path, int], Figures]] = {
    OURS: ours,
    "raysample, three of a group": capped,
    "numpy, all in memory": with_numpy,
    **({"DuckDB": with_duckdb} if version("duckdb") else {}),
    **({"Polars": with_polars} if version("polars") else {}),
}


def size_of(rows: int, classes: int) -> str:
    """Return how tables and targets call a size."""
    return f"{rows:,} rows, {classes:,} classes"


def measured(options: Namespace) -> dict[str, dict[str, Figures]]:
    """Return every method's figures at every size."""
    found = dict[str, dict[str, Figures]]()
    for classes in options.classes:
        for rows in options.rows:
            size = size_of(rows, classes)
            with tempfile.TemporaryDirectory(prefix="raysample-selection-") as folder:
                save_score_table(Path(folder), pieces(rows, classes), [str(i) for i in range(classes)], grouped=True)
                found[size] = {
                    name: run_isolated(method, LIMIT, Path(folder), rows) for name, method in METHODS.items()
                }
            for figures in found[size].values():
                if "failed" not in figures:
                    figures["rows_per_second"] = rows / figures["seconds"]
            print(f"  {size}: done", flush=True)
    return found


def cells(figures: Figures) -> list[str]:
    """Return a method's figures as cells of the table."""
    if "failed" in figures:
        return [figures["failed"]]
    peak = figures.get("counting_peak_mib", figures["peak_mib"])
    last = (f"{figures['sample']:.1f}", f"{figures['peak_mib']:,.0f}") if "sample" in figures else ()
    return [f"{figures['seconds']:.1f}", f"{figures['rows_per_second'] / 1e6:.2f}", f"{peak:,.0f}", *last]


def targets(found: dict[str, dict[str, Figures]], options: Namespace) -> Figures:
    """Return the claims: speed and memory at the largest size, and how time grows to it from the smallest."""
    claims = Figures()
    most, least = max(options.rows), min(options.rows)
    for classes in options.classes:
        name = size_of(most, classes)
        own, small = found[name][OURS], found[size_of(least, classes)][OURS]
        claims[f"{name}: million rows/s through all counting passes"] = target(own["rows_per_second"] / 1e6, ">=", 5)
        claims[f"{name}: peak GB"] = target(own["peak_mib"] / 953.7, "<=", 1.5)
        if most > least:
            growth = own["seconds"] / small["seconds"] / (most / least)
            claims[f"{name}: seconds per row against {least:,} rows"] = target(growth, "<=", 1.2)
    return claims


def main(argv: Sequence[str] | None = None) -> int:
    """Write rows, select, compare, print."""
    parser = Options("How fast an exact selection is, and how much memory it takes.")
    parser.size("--rows", [10**6, 10**7, 10**8], [10**5, 10**6], nargs="+")
    parser.size("--classes", [20, 1000], [20], nargs="+")
    options = parser.read(argv)
    found = measured(options)
    lines = [[size, name, *cells(figures)] for size, methods in found.items() for name, figures in methods.items()]
    headings = ("seconds", "million rows/s", "peak MiB", "whole sample, s", "its peak")
    print_table(("rows and classes", "method", *headings), lines, left=2)
    finish("selection", targets(found, options), {"found": found}, options, "duckdb", "polars", "pyarrow")
    return 0


if __name__ == "__main__":
    sys.exit(main())
