"""How fast an exact selection is, how much memory it takes, and how both grow with the rows.

A score table is made up: a class (sizes fall as 1/rank), a float32 score and a group (a fifth as many as rows at most,
few of them large) for each row, in parts of 2^20 rows. `hard` with z-scores within classes takes half of them: one pass
for exact moments, two for the threshold; and, timed apart, the whole of `sample`, which also decides every row and
writes decision, weight, chance, key and reason of each. Once more with at most three rows of a group. Every measurement
runs in a process of its own, so that its peak memory is its own. Beside it, on the same files, numpy partitions the
whole column in memory, and DuckDB and Polars, where they are installed, find the median z-score: one number, without
ties broken, budgets or reasons, so they do less.

Prints a table and, as the last line, JSON.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness.isolated import Figures, peak_mib, run_isolated
from harness.outcome import finish, installed, machine, parser, print_table, target

from raysample.core.config import ArmConfig
from raysample.data.identity import group_codes
from raysample.data.score_table import ScoreTable, table_schema
from raysample.selection import write_selection
from raysample.selection.sampling import plan_arm

PART = 1 << 20
Method = Callable[[Path, int], Figures]


def write(folder: Path, rows: int, classes: int) -> None:
    """Write a score table, one row group per 2^18 rows; the same for the same sizes."""
    weight = 1 / np.arange(1, classes + 1)
    names = []
    for number, start in enumerate(range(0, rows, PART)):
        rng, n = np.random.default_rng([classes, number]), min(PART, rows - start)
        label = rng.choice(classes, n, p=weight / weight.sum()).astype(np.int32)
        columns = {
            "row_id": pa.array(np.arange(start, start + n)).cast(pa.string()),
            "label": label,
            "tokens": rng.integers(4, 64, n, dtype=np.int32),
            "group": pa.array((rows // 5 * rng.random(n) ** 3).astype(np.int64)).cast(pa.string()),
            "score": rng.lognormal(label % 7, 1).astype(np.float32),
        }
        columns["group_code"] = group_codes(columns["group"])
        names.append(f"parts/part-{number:05d}.parquet")
        (folder / "parts").mkdir(exist_ok=True)
        shape = table_schema(("score",), grouped=True)
        table = pa.table(columns).select(shape.names).cast(shape)
        pq.write_table(table, folder / names[-1], row_group_size=1 << 18)
    scores = {"score": {"score": "el2n", "higher_is": "harder"}}
    labels = tuple(map(str, range(classes)))
    counts = {"in": rows, "scored": rows, "quarantined": 0}
    ScoreTable(str(folder), tuple(names), scores, labels, "corpus", "checkpoints", counts, {}, grouped=True).save()


def ours(folder: Path, rows: int) -> Figures:
    """Find the thresholds; then, timed apart, decide every row and write the whole selection."""
    arm, table = ArmConfig(policy="hard", score="score", normalise="class"), ScoreTable.load(str(folder))
    began = time.perf_counter()
    plan_arm(table, arm, 0.5)
    found, counting = time.perf_counter() - began, peak_mib()
    began = time.perf_counter()
    kept = write_selection(table, arm, str(folder / "selection"), fraction=0.5).counts["kept"]
    if kept != round(rows / 2):
        raise AssertionError(f"{kept:,} of {rows:,} rows kept")
    return {"seconds": found, "sample": time.perf_counter() - began, "counting_peak_mib": counting}


def capped(folder: Path, rows: int) -> Figures:
    """Find the thresholds, with at most three rows of a group: a cap per group is a step of its own before them."""
    del rows
    arm = ArmConfig(policy="hard", score="score", normalise="class", cap_per_group=3)
    table = ScoreTable.load(str(folder))
    began = time.perf_counter()
    plan_arm(table, arm, 0.25)
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


def with_duckdb(folder: Path, rows: int) -> Figures:
    """Ask for the exact median of the z-scores, with two threads."""
    import duckdb

    del rows
    parts = f"'{folder}/parts/*.parquet'"
    query = f"""
        WITH m AS (SELECT label, avg(score) AS mean, stddev_pop(score) AS std FROM {parts} GROUP BY label)
        SELECT quantile_disc((score - mean) / std, 0.5) FROM {parts} JOIN m USING (label)
    """
    began = time.perf_counter()
    duckdb.sql("SET threads = 2")
    duckdb.sql(query).fetchall()
    return {"seconds": time.perf_counter() - began}


def with_polars(folder: Path, rows: int) -> Figures:
    """Ask for the exact median of the z-scores, streaming."""
    import polars

    del rows
    scanned = polars.scan_parquet(f"{folder}/parts/*.parquet")
    score = polars.col("score").cast(polars.Float64)
    z = (score - score.mean().over("label")) / score.std(ddof=0).over("label")
    began = time.perf_counter()
    scanned.select(z.quantile(0.5, "lower")).collect(engine="streaming")
    return {"seconds": time.perf_counter() - began}


METHODS: dict[str, Method] = {
    "raysample": ours,
    "raysample, three of a group": capped,
    "numpy, all in memory": with_numpy,
}
PEERS: dict[str, tuple[str, Method]] = {
    "DuckDB": ("duckdb", with_duckdb),
    "Polars": ("polars", with_polars),
}


def timed(method: Method, folder: Path, rows: int, limit: float) -> Figures:
    """Return a method's figures with its rate; or why there are none."""
    found = run_isolated(method, limit, folder, rows)
    return found if "failed" in found else {**found, "rows_per_second": rows / found["seconds"]}


def measured(given: Namespace) -> dict[str, Figures]:
    """Return every method's figures at every size, classes by classes."""
    methods = {**METHODS, **{name: method for name, (module, method) in PEERS.items() if installed(module)}}
    found: dict[str, Figures] = {}
    for classes in given.classes:
        for rows in given.rows:
            with tempfile.TemporaryDirectory(prefix="raysample-selection-", dir=given.folder) as folder:
                write(Path(folder), rows, classes)
                key = f"{rows:,} rows, {classes:,} classes"
                found[key] = {name: timed(method, Path(folder), rows, given.limit) for name, method in methods.items()}
                print(f"  {key}: done", flush=True)
    return found


def show(found: dict[str, Figures]) -> None:
    """Print one line per size and method."""
    lines = []
    for key, methods in found.items():
        for name, told in methods.items():
            if "failed" in told:
                lines.append([key, name, told["failed"]])
                continue
            speed, peak = told["rows_per_second"] / 1e6, told.get("counting_peak_mib", told["peak_mib"])
            last = (f"{told['sample']:.1f}", f"{told['peak_mib']:,.0f}") if "sample" in told else ("", "")
            lines.append([key, name, f"{told['seconds']:.1f}", f"{speed:.2f}", f"{peak:,.0f}", *last])
    headings = ("seconds", "million rows/s", "peak MiB", "whole sample, s", "its peak")
    print_table(("rows and classes", "method", *headings), lines, left=2)


def targets(found: dict[str, Figures], given: Namespace) -> Figures:
    """Return the claims: speed and memory at the largest size, and how time grows to it from the smallest."""
    claims: Figures = {}
    most, least = max(given.rows), min(given.rows)
    for classes in given.classes:
        own = found[f"{most:,} rows, {classes:,} classes"]["raysample"]
        name = f"{most:,} rows, {classes:,} classes"
        claims[f"{name}: million rows/s through all counting passes"] = target(own["rows_per_second"] / 1e6, ">=", 5)
        claims[f"{name}: peak GB"] = target(own["peak_mib"] / 953.7, "<=", 1.5)
        if most > least:
            small = found[f"{least:,} rows, {classes:,} classes"]["raysample"]
            growth = own["seconds"] / small["seconds"] / (most / least)
            claims[f"{name}: seconds per row against {least:,} rows"] = target(growth, "<=", 1.2)
    return claims


def main(argv: Sequence[str] | None = None) -> int:
    """Write rows, select, compare, print."""
    given = arguments(argv)
    found = measured(given)
    show(found)
    told = {"benchmark": "selection", "targets": targets(found, given), "found": found}
    finish({**told, **machine("duckdb", "polars", "pyarrow")}, given.json)
    return 0


def arguments(argv: Sequence[str] | None) -> Namespace:
    """Read the command line."""
    made = parser("How fast an exact selection is, and how much memory it takes.")
    made.add_argument(
        "--rows", type=int, nargs="+", metavar="N", help="10^6, 10^7 and 10^8; with --quick 10^5 and 10^6"
    )
    made.add_argument("--classes", type=int, nargs="+", metavar="C", help="20 and 1000; with --quick 20")
    made.add_argument("--folder", type=Path, metavar="PATH", help="where the rows are written: 1.5 GB for 10^8")
    made.add_argument("--limit", type=float, default=600, metavar="S", help="seconds for each: %(default)s")
    given = made.parse_args(argv)
    given.classes = given.classes or ([20] if given.quick else [20, 1000])
    given.rows = given.rows or ([100_000, 1_000_000] if given.quick else [1_000_000, 10_000_000, 100_000_000])
    return given


if __name__ == "__main__":
    sys.exit(main())
