"""What the scoring of a log costs: by its unique contents, not its rows; and a further day by what is new on that day.

Growth: logs of made-up traffic, in which the k-th most frequent of n contents has a share of about 1 / (k ln n), are
compacted and scored with a tiny encoder, each size in a process of its own. Beside it, up to `--every-row` rows, every
row is scored as it comes (a shard visits its repeats once, too).

Days: each morning the log has one day more, new rows and repeats of rows of any day so far. It is compacted and scored
into the same folders; at the end all days are done at once, from nothing. With `--corpus` the rows are those of a
labelled Parquet file (columns text, label), with `--model` the encoder is a real one, fine-tuned on the first day.

Prints tables and, as the last line, JSON. Exit code 1 means that a daily update gives other scores.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness.isolated import Figures, run_isolated, workers_peak_mib
from harness.made_logs import CLASSES, growing, made_up, plain, source, write_day, zipf_log
from harness.outcome import finish, machine, parser, print_table, target

from raysample import api  # loaded here, not when the clock runs
from raysample.core.config import EngineConfig, ModelConfig
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.score_table import ScoreTable

PARTS = ("growth", "days")
GROWTH_SCORES, DAY_SCORES = ("el2n", "grand_last"), ("vog", "el2n", "grand_last")
PARTITIONS = 8
DIFFERENCE = 1e-3


def tuned(rows: Any, place: Path, model: ModelConfig, labels: Sequence[str] | None, **recipe: Any) -> CheckpointSet:
    """Fine-tune for one epoch."""
    train = api.describe(rows, str(place / "train"), labels=labels)
    given = {"epochs": 1, "checkpoints": 2, "precision": "float32", **recipe}
    return api.fine_tune(train, train, str(place / "run"), model=model, recipe=given)


def contents(log: str, run: str, place: str, engine: EngineConfig) -> Figures:
    """Compact a log and score its contents."""
    torch.set_num_threads(1)
    with workers_peak_mib() as workers:
        began = time.perf_counter()
        found = api.compact(source(Path(log)), f"{place}/contents", engine=engine)
        middle = time.perf_counter()
        table = api.score(CheckpointSet.load(run), found, GROWTH_SCORES, f"{place}/scores", engine=engine)
        end = time.perf_counter()
    told = {"contents": table.counts["in"], "compacting": middle - began, "scoring": end - middle}
    return {**told, "seconds": end - began, "workers_peak_mib": workers[0] if workers else None}


def every_row(log: str, run: str, place: str, engine: EngineConfig) -> Figures:
    """Score every row of a log as it comes."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    corpus = api.describe(source(Path(log)), f"{place}/corpus", labels=CLASSES)
    api.score(CheckpointSet.load(run), corpus, GROWTH_SCORES, f"{place}/rows", engine=engine)
    return {"seconds": time.perf_counter() - began}


def grown(given: Namespace, place: Path) -> dict[int, dict[str, Figures]]:
    """Return the figures of both ways at every size."""
    model = ModelConfig(hidden_size=16, vocabulary_size=300, max_length=8, layers=1)
    run, found = tuned(zipf_log(place / "first", 2_000, 1), place, model, CLASSES).uri, {}
    engine = EngineConfig.model_validate({"kind": given.engine, "address": "local" if given.engine == "ray" else None})
    for rows in given.rows:
        with tempfile.TemporaryDirectory(dir=place) as folder:
            zipf_log(Path(folder, "log"), rows, PARTITIONS, seed=rows)
            ways = {"contents": contents, **({"every row": every_row} if rows <= given.every_row else {})}
            order = (f"{folder}/log", run, folder, engine)
            found[rows] = {name: run_isolated(way, given.limit, *order) for name, way in ways.items()}
        print(f"  {rows:,} rows: done", flush=True)
    return found


def gain(told: dict[str, Figures]) -> float | None:
    """Return how many times the seconds scoring every row takes."""
    one, other = told["contents"], told.get("every row", {"failed": ""})
    return None if "failed" in one or "failed" in other else other["seconds"] / one["seconds"]


def marginal(one: Figures, other: Figures) -> float:
    """Return the seconds of scoring that each further content took from one size to the next."""
    return float((other["scoring"] - one["scoring"]) / (other["contents"] - one["contents"]))


def growth_targets(found: dict[int, dict[str, Figures]]) -> Figures:
    """Return the claims: time per content, memory, and what compacting gains, at the largest sizes."""
    every = [found[rows]["contents"] for rows in sorted(found)]
    least, most = every[0], every[-1]
    name = f"{max(found):,} rows against {min(found):,}"
    claims = {f"{name}: driver's peak memory": target(most["peak_mib"] / least["peak_mib"], "<=", 1.5)}
    if least["workers_peak_mib"] and most["workers_peak_mib"]:
        value = most["workers_peak_mib"] / least["workers_peak_mib"]
        claims[f"{name}: a worker's peak memory"] = target(value, "<=", 1.5)
    if len(every) > 2:  # what starting takes is not in differences
        steps = [marginal(one, other) for one, other in pairwise(every)]
        key = "seconds of scoring each further content, last step against the first"
        claims[key] = target(steps[-1] / steps[0], "<=", 1.2)
    both = {rows: value for rows, told in found.items() if (value := gain(told)) is not None}
    if both and max(both) >= 100_000:  # below, starting costs more than repeats
        claims[f"{max(both):,} rows: gain over scoring every row"] = target(both[max(both)], ">=", 1.5)
    return claims


def growth_rows(found: dict[int, dict[str, Figures]]) -> list[list[str]]:
    """Return one line per size."""
    lines = []
    for rows, told in found.items():
        one, gained = told["contents"], gain(told)
        if "failed" in one:
            lines.append([f"{rows:,}", one["failed"]])
            continue
        seconds, each = (one["compacting"], one["scoring"]), f"{1e3 * one['scoring'] / one['contents']:.3f}"
        worker = f"{one['workers_peak_mib']:,.0f}" if one["workers_peak_mib"] else "-"
        figures = (f"{one['contents']:,}", *(f"{value:.1f}" for value in seconds), each, f"{one['peak_mib']:,.0f}")
        lines.append([f"{rows:,}", *figures, worker, "-" if gained is None else f"{gained:.2f} x"])
    return lines


@dataclass(frozen=True)
class Morning:
    """One update: rows of the log and contents so far, contents that were new, seconds of both steps."""

    rows: int
    contents: int
    new: int
    scored: int
    quarantined: int
    compacting: float
    scoring: float


def update(trace: CheckpointSet, folder: Path, place: Path) -> tuple[Morning, ScoreTable]:
    """Compact and score the log as it is now."""
    began = time.perf_counter()
    found = api.compact(source(folder), str(place / "contents"))
    middle = time.perf_counter()
    table = api.score(trace, found, DAY_SCORES, str(place / "scores"))
    seconds = (middle - began, time.perf_counter() - middle)
    counts, new = table.counts, int(table.cost["new_contents"])
    return Morning(found.counts["usable"], counts["in"], new, counts["scored"], counts["quarantined"], *seconds), table


def day_by_day(given: Namespace, place: Path) -> tuple[list[Morning], Morning, float]:
    """Return every morning, one update from nothing, and the largest difference of a score between the two."""
    folder, mornings = place / "log", list[Morning]()
    corpus = made_up(np.arange(given.contents)) if given.corpus is None else plain(given.corpus)
    names = sorted(set(plain(given.corpus)["label"].to_pylist())) if given.corpus else None
    corpus = corpus.take(np.sort(np.random.default_rng(0).permutation(corpus.num_rows)[: given.contents]))
    trace: CheckpointSet | None = None
    for day, rows in enumerate(growing(corpus, given.days, given.day_rows)):
        write_day(folder, day, [rows])
        if trace is None:
            first = source(folder).model_copy(update={"limit": given.train_rows})
            model = ModelConfig(path=given.model, max_length=given.max_length)
            trace = tuned(first, place, model, names, learning_rate=1e-4)
        told, table = update(trace, folder, place / "daily")
        mornings.append(told)
        print(f"  day {day + 1}: {told.new:,} of {told.contents:,} contents new", flush=True)
    assert trace is not None
    whole, once = update(trace, folder, place / "once")
    return mornings, whole, difference(table, once)


def difference(daily: ScoreTable, once: ScoreTable) -> float:
    """Return the largest difference of a score, in its standard deviations; infinite where the contents differ."""
    one, other = (table.to_pandas().set_index("row_id") for table in (daily, once))
    if not one.index.equals(other.index) or not (one["count"] == other["count"]).all():
        return float("inf")
    return max(float((one[name] - other[name]).abs().max() / other[name].std()) for name in DAY_SCORES)


def day_targets(mornings: Sequence[Morning], whole: Morning, differs: float) -> Figures:
    """Return the claims of the last day."""
    last, before = mornings[-1], mornings[-2]
    each = last.scoring / max(1, last.new) / (whole.scoring / whole.new)
    key = "daily against at once: largest difference in standard deviations"
    return {
        "last day: contents visited beyond the new ones": target(last.new - (last.contents - before.contents), "<=", 0),
        "last day: seconds per new content against all at once": target(each, "<=", 1.3),
        key: target(differs, "<=", DIFFERENCE),
    }


def day_rows(mornings: Sequence[Morning], whole: Morning) -> list[list[str]]:
    """Return one line per morning, and one of all days at once."""
    lines = []
    for name, told in [*((str(day + 1), told) for day, told in enumerate(mornings)), ("all at once", whole)]:
        counts = (f"{value:,}" for value in (told.rows, told.contents, told.new))
        each = f"{1e3 * told.scoring / told.new:.2f}" if told.new else "-"
        lines.append([name, *counts, f"{told.compacting:.2f}", f"{told.scoring:.2f}", each])
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Write logs, compact, score, compare, print."""
    given, claims, found, differs = arguments(argv), Figures(), Figures(), 0.0
    torch.set_num_threads(given.threads)
    for part in given.parts:
        with tempfile.TemporaryDirectory(prefix="raysample-logs-", dir=given.folder) as folder:
            if part == "growth":
                sizes = grown(given, Path(folder))
                headings = ("rows", "contents", "compact, s", "score, s", "ms per content", "driver MiB")
                print_table((*headings, "worker MiB", "gain"), growth_rows(sizes), left=0)
                if any("failed" in told["contents"] for told in sizes.values()):
                    print("a size failed, so nothing is told of growth", file=sys.stderr)
                    return 1
                claims |= growth_targets(sizes)
                found["growth"] = {str(rows): one for rows, one in sizes.items()}
            else:
                mornings, whole, differs = day_by_day(given, Path(folder))
                headings = ("day", "rows so far", "contents", "new", "compact, s", "score, s", "ms per new content")
                print_table(headings, day_rows(mornings, whole))
                claims |= day_targets(mornings, whole, differs)
                found["days"] = {"mornings": [vars(told) for told in mornings], "at_once": vars(whole)}
    told = {"benchmark": "logs", "targets": claims, "engine": given.engine, **found}
    finish({**told, **machine("pyarrow", "ray")}, given.json)
    return int(differs > DIFFERENCE)


def arguments(argv: Sequence[str] | None) -> Namespace:
    """Read the command line."""
    made = parser("What the scoring of a log costs as the log grows, and what a further day costs.")
    made.add_argument("--parts", choices=PARTS, nargs="+", default=PARTS, help="both if not given")
    made.add_argument(
        "--rows", type=int, nargs="+", metavar="N", help="of growth: 10^5 to 10^7; --quick: 2,000, 20,000"
    )
    made.add_argument("--every-row", type=int, default=1_000_000, metavar="N", help="beside up to: %(default)s")
    made.add_argument("--engine", choices=("ray", "local"), help="of growth: ray; with --quick local")
    made.add_argument("--limit", type=float, default=3_000, metavar="S", help="seconds for each size: %(default)s")
    made.add_argument("--corpus", type=Path, metavar="PATH", help="of days: Parquet with text and label, or made up")
    made.add_argument("--model", default="tiny", metavar="PATH", help="of days, an encoder's folder: %(default)s")
    made.add_argument("--max-length", type=int, default=32, metavar="N", help="of days, tokens: %(default)s")
    made.add_argument("--days", type=int, metavar="N", help="5; with --quick 3")
    made.add_argument("--day-rows", type=int, metavar="N", help="of a day: 200,000; with --quick 3,000")
    made.add_argument("--contents", type=int, metavar="N", help="rows that repeats are of: 100,000; --quick: 2,000")
    made.add_argument("--train-rows", type=int, default=512, metavar="N", help="of the fine-tuning: %(default)s")
    made.add_argument("--threads", type=int, default=2, metavar="N", help="of torch: %(default)s")
    made.add_argument("--folder", type=Path, metavar="PATH", help="where the logs are written")
    given = made.parse_args(argv)
    given.engine = given.engine or ("local" if given.quick else "ray")
    given.rows = given.rows or ([2_000, 20_000] if given.quick else [100_000, 1_000_000, 10_000_000])
    for name, small, full in (("days", 3, 5), ("day_rows", 3_000, 200_000), ("contents", 2_000, 100_000)):
        setattr(given, name, getattr(given, name) or (small if given.quick else full))
    return given


if __name__ == "__main__":
    sys.exit(main())
