"""How a log's scoring grows: with its unique contents, not with its rows; and in flat memory.

Logs of made-up traffic, in which the k-th most frequent of n contents has a share of about 1 / (k ln n), are compacted
and scored with a tiny encoder, each size in a process of its own. Beside it, where that is not too much, every row is
scored as it comes (a shard visits its repeats once, too).

Prints a table and, as the last line, JSON.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from harness.isolated import Figures, apart, workers_peak_mib
from harness.made_logs import CLASSES, source, zipf_log
from harness.outcome import finish, machine, parser, target
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from raysample import api  # loaded here, not when the clock runs
from raysample.core.config import EngineConfig, ModelConfig
from raysample.data.checkpoint_set import CheckpointSet

SCORES = ("el2n", "grand_last")
DAYS = 8


def trace(place: Path) -> CheckpointSet:
    """Fine-tune a tiny encoder for a moment."""
    rows = zipf_log(place / "train", 2_000, 1)
    train = api.describe(rows, str(place / "corpus"), labels=CLASSES)
    model = ModelConfig(hidden_size=16, vocabulary_size=300, max_length=8, layers=1)
    recipe = {"epochs": 1, "checkpoints": 2, "precision": "float32"}
    return api.fine_tune(train, train, str(place / "run"), model=model, recipe=recipe)


def contents(log: str, run: str, place: str, engine: str) -> Figures:
    """Compact a log and score its contents."""
    torch.set_num_threads(1)
    kind = EngineConfig.model_validate({"kind": engine, "address": "local" if engine == "ray" else None})
    with workers_peak_mib() as workers:
        began = time.perf_counter()
        found = api.compact(source(Path(log)), f"{place}/contents", engine=kind)
        middle = time.perf_counter()
        table = api.score(CheckpointSet.load(run), found, SCORES, f"{place}/scores", engine=kind)
        end = time.perf_counter()
    told = {"contents": table.counts["in"], "compacting": middle - began, "scoring": end - middle}
    return {**told, "seconds": end - began, "workers_peak_mib": workers[0] if workers else None}


def every_row(log: str, run: str, place: str, engine: str) -> Figures:
    """Score every row of a log as it comes."""
    torch.set_num_threads(1)
    kind = EngineConfig.model_validate({"kind": engine, "address": "local" if engine == "ray" else None})
    began = time.perf_counter()
    corpus = api.describe(source(Path(log)), f"{place}/corpus", labels=CLASSES)
    api.score(CheckpointSet.load(run), corpus, SCORES, f"{place}/rows", engine=kind)
    return {"seconds": time.perf_counter() - began}


def measured(given: Namespace, place: Path) -> dict[int, dict[str, Figures]]:
    """Return the figures of both ways at every size."""
    run, found = trace(place).uri, dict[int, dict[str, Figures]]()
    for rows in given.rows:
        with tempfile.TemporaryDirectory(dir=place) as folder:
            zipf_log(Path(folder, "log"), rows, DAYS, seed=rows)
            told = {"contents": apart(contents, given.limit, f"{folder}/log", run, folder, given.engine)}
            if rows <= given.every_row:
                told["every row"] = apart(every_row, given.limit, f"{folder}/log", run, folder, given.engine)
            found[rows] = told
            print(f"  {rows:,} rows: done", flush=True)
    return found


def show(found: dict[int, dict[str, Figures]], console: Console) -> None:
    """Print one line per size."""
    table = Table(box=SIMPLE)
    headings = ("rows", "contents", "compact, s", "score, s", "ms per content", "driver MiB", "worker MiB", "gain")
    for heading in headings:
        table.add_column(heading, justify="right")
    for rows, told in found.items():
        one, gain = told["contents"], ratio(told)
        if "failed" in one:
            table.add_row(f"{rows:,}", one["failed"])
            continue
        worker = f"{one['workers_peak_mib']:,.0f}" if one["workers_peak_mib"] else "-"
        each, seconds = f"{1e3 * one['scoring'] / one['contents']:.3f}", (one["compacting"], one["scoring"])
        figures = (f"{one['contents']:,}", *(f"{value:.1f}" for value in seconds), each, f"{one['peak_mib']:,.0f}")
        table.add_row(f"{rows:,}", *figures, worker, "-" if gain is None else f"{gain:.2f} x")
    console.print(table)


def ratio(told: dict[str, Figures]) -> float | None:
    """Return how many times the seconds scoring every row takes."""
    one, other = told["contents"], told.get("every row", {"failed": ""})
    return None if "failed" in one or "failed" in other else other["seconds"] / one["seconds"]


def marginal(one: Figures, other: Figures) -> float:
    """Return the seconds of scoring that each further content took from one size to the next."""
    return float((other["scoring"] - one["scoring"]) / (other["contents"] - one["contents"]))


def targets(found: dict[int, dict[str, Figures]]) -> dict[str, Any]:
    """Return the claims: time per content, memory, and what compacting gains, at the largest sizes."""
    every = [found[rows]["contents"] for rows in sorted(found)]
    least, most = every[0], every[-1]
    both = {rows: gain for rows, told in found.items() if (gain := ratio(told)) is not None}
    name = f"{max(found):,} rows against {min(found):,}"
    claims = {
        f"{name}: driver's peak memory": target(most["peak_mib"] / least["peak_mib"], "<=", 1.5),
    }
    if least["workers_peak_mib"] and most["workers_peak_mib"]:
        value = most["workers_peak_mib"] / least["workers_peak_mib"]
        claims[f"{name}: a worker's peak memory"] = target(value, "<=", 1.5)
    if len(every) > 2:  # what starting takes is not in differences
        steps = [marginal(one, other) for one, other in pairwise(every)]
        claims["seconds of scoring each further content, last step against the first"] = target(
            steps[-1] / steps[0], "<=", 1.2
        )
    if both and max(both) >= 100_000:  # below, starting costs more than repeats
        claims[f"{max(both):,} rows: gain over scoring every row"] = target(both[max(both)], ">=", 1.5)
    return claims


def main(argv: Sequence[str] | None = None) -> int:
    """Write logs, compact, score, compare, print."""
    given, console = arguments(argv), Console(width=120, highlight=False)
    with tempfile.TemporaryDirectory(prefix="raysample-scale-", dir=given.folder) as folder:
        found = measured(given, Path(folder))
    show(found, console)
    if failed := [f"{rows:,}" for rows, told in found.items() if "failed" in told["contents"]]:
        print(f"{' and '.join(failed)} rows failed, so nothing is told of growth", file=sys.stderr)
        return 1
    told = {"benchmark": "scale", "targets": targets(found), "engine": given.engine}
    finish({**told, "found": {str(rows): one for rows, one in found.items()}, **machine("pyarrow", "ray")}, given.json)
    return 0


def arguments(argv: Sequence[str] | None) -> Namespace:
    """Read the command line."""
    made = parser("How a log's scoring grows with its rows.")
    made.add_argument("--rows", type=int, nargs="+", metavar="N", help="10^5 to 10^7; with --quick 3,000, 30,000")
    made.add_argument("--every-row", type=int, default=1_000_000, metavar="N", help="beside up to: %(default)s")
    made.add_argument("--engine", choices=("ray", "local"), help="ray; with --quick local")
    made.add_argument("--limit", type=float, default=3_000, metavar="S", help="seconds for each: %(default)s")
    made.add_argument("--folder", type=Path, metavar="PATH", help="where the logs are written")
    given = made.parse_args(argv)
    given.rows = given.rows or ([3_000, 30_000] if given.quick else [100_000, 1_000_000, 10_000_000])
    given.engine = given.engine or ("local" if given.quick else "ray")
    return given


if __name__ == "__main__":
    sys.exit(main())
