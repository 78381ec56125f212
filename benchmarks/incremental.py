"""What a day of a growing log costs: its new contents, not the log.

Each morning the log has one day more: new rows, and repeats of rows of any day so far. It is compacted and scored into
the same folders. The last line of the table does all days at once, from nothing. With `--corpus` the rows are those of
a labelled Parquet file (columns text, label), with `--model` the encoder is a real one, fine-tuned briefly on the first
day.

Prints a table and, as the last line, JSON.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from harness.made_logs import growing, made_up, plain, source, write_day
from harness.outcome import finish, machine, parser, target
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

import raysample
from raysample.core.config import ModelConfig
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.score_table import ScoreTable

SCORES = ("vog", "el2n", "grand_last")


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
    found = raysample.compact(source(folder), str(place / "contents"))
    middle = time.perf_counter()
    table = raysample.score(trace, found, SCORES, str(place / "scores"))
    end = time.perf_counter()
    counts, new = table.counts, int(table.cost["new_contents"])
    told = Morning(found.counts["usable"], counts["in"], new, counts["scored"], counts["quarantined"],
                   middle - began, end - middle)  # fmt: skip
    return told, table


def measured(given: Namespace, place: Path) -> tuple[list[Morning], Morning, float]:
    """Return every morning, one update from nothing, and the largest relative difference of a score between the two."""
    folder, mornings = place / "log", list[Morning]()
    corpus = made_up(np.arange(given.contents)) if given.corpus is None else plain(given.corpus)
    corpus = corpus.take(np.sort(np.random.default_rng(0).permutation(corpus.num_rows)[: given.contents]))
    days: Iterator[pa.Table] = growing(corpus, given.days, given.rows)
    trace: CheckpointSet | None = None
    for day, rows in enumerate(days):
        write_day(folder, day, [rows])
        trace = trace or tuned(given, folder, place)
        told, table = update(trace, folder, place / "daily")
        mornings.append(told)
        print(f"  day {day + 1}: {told.new:,} of {told.contents:,} contents new", flush=True)
    assert trace is not None
    whole, once = update(trace, folder, place / "once")
    return mornings, whole, difference(table, once)


def tuned(given: Namespace, folder: Path, place: Path) -> CheckpointSet:
    """Fine-tune on some rows of the first day, whose labels are those of all days' rows."""
    rows = source(folder).model_copy(update={"limit": given.train_rows})
    names = sorted(set(plain(given.corpus)["label"].to_pylist())) if given.corpus else None
    train = raysample.describe(rows, str(place / "train"), labels=names)
    recipe = {"epochs": 1, "checkpoints": 2, "learning_rate": 1e-4, "precision": "float32"}
    model = ModelConfig(path=given.model, max_length=given.max_length)
    return raysample.fine_tune(train, train, str(place / "run"), model=model, recipe=recipe)


def difference(daily: ScoreTable, once: ScoreTable) -> float:
    """Return the largest difference of a score, in its standard deviations; infinite where the contents differ."""
    one, other = (table.to_pandas().set_index("row_id") for table in (daily, once))
    if not one.index.equals(other.index) or not (one["count"] == other["count"]).all():
        return float("inf")
    return max(float((one[name] - other[name]).abs().max() / other[name].std()) for name in SCORES)


def show(mornings: Sequence[Morning], whole: Morning, console: Console) -> None:
    """Print one line per morning."""
    table = Table(box=SIMPLE)
    for heading in ("day", "rows so far", "contents", "new", "compact, s", "score, s", "ms per new content"):
        table.add_column(heading, justify="right")
    for name, told in [*((str(day + 1), told) for day, told in enumerate(mornings)), ("all at once", whole)]:
        each = f"{1e3 * told.scoring / told.new:.2f}" if told.new else "-"
        seconds = (f"{told.compacting:.2f}", f"{told.scoring:.2f}")
        table.add_row(name, f"{told.rows:,}", f"{told.contents:,}", f"{told.new:,}", *seconds, each)
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Write days, update, compare, print."""
    given, console = arguments(argv), Console(width=120, highlight=False)
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory(prefix="raysample-incremental-", dir=given.folder) as folder:
        mornings, whole, differs = measured(given, Path(folder))
    show(mornings, whole, console)
    last, before = mornings[-1], mornings[-2]
    every = (last.compacting + last.scoring) / (whole.compacting + whole.scoring)
    targets = {
        "last day: contents visited beyond the new ones": target(last.new - (last.contents - before.contents), "<=", 0),
        "last day: seconds per new content against all at once": target(
            last.scoring / max(1, last.new) / (whole.scoring / whole.new), "<=", 1.3
        ),
        "daily against at once: largest difference in standard deviations": target(differs, "<=", 1e-3),
    }
    figures = {"share_of_all_at_once": round(every, 4), "mornings": [vars(told) for told in mornings]}
    told = {"benchmark": "incremental", "targets": targets, **figures, "at_once": vars(whole)}
    finish({**told, **machine("pyarrow")}, given.json)
    return 0 if differs <= 1e-3 else 1


def arguments(argv: Sequence[str] | None) -> Namespace:
    """Read the command line."""
    made = parser("What a day of a growing log costs.")
    made.add_argument("--corpus", type=Path, metavar="PATH", help="Parquet with text and label; made up if left out")
    made.add_argument("--model", default="tiny", metavar="PATH", help="an encoder's folder: %(default)s")
    made.add_argument("--max-length", type=int, default=32, metavar="N", help="tokens: %(default)s")
    made.add_argument("--days", type=int, default=5, metavar="N", help="%(default)s")
    made.add_argument("--rows", type=int, metavar="N", help="of a day: 200,000; with --quick 4,000")
    made.add_argument("--contents", type=int, metavar="N", help="rows that repeats are of: 100,000; with --quick 3,000")
    made.add_argument("--train-rows", type=int, default=512, metavar="N", help="of the fine-tuning: %(default)s")
    made.add_argument("--threads", type=int, default=2, metavar="N", help="of torch: %(default)s")
    made.add_argument("--folder", type=Path, metavar="PATH", help="where the log is written")
    given = made.parse_args(argv)
    given.rows = given.rows or (4_000 if given.quick else 200_000)
    given.contents = given.contents or (3_000 if given.quick else 100_000)
    return given


if __name__ == "__main__":
    sys.exit(main())
