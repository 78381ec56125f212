"""How much the busiest worker has to do where rows of a batch are dealt by length, and where they are dealt in turn.

All wait for the worker that has most. What it has to do is counted, not timed: rows times the longest of them, in
tokens, summed over the batches of an epoch. Dealt in turn is what PyTorch's DistributedSampler does. Rows are real ones
with `--corpora`, else simulated traffic.

Prints a table and, as the last line, JSON. Exit code 1 means that a row was dealt twice or not at all.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from baselines.train_loop import by_length, in_turn
from harness.outcome import finish, machine, parser, target
from harness.quietness import quiet
from label_noise import trials
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from raysample import models
from raysample.core.config import ModelConfig
from raysample.data.corpus import describe_source
from raysample.training import batches
from raysample.training.fine_tuning import load_examples

SHAPES = ((32, 2), (32, 4), (64, 8), (256, 8))
"""Rows of a batch, and workers."""

Lengths = NDArray[np.int64]


class UnequalError(Exception):
    """What was dealt are not the rows of the batch."""


@dataclass(frozen=True)
class Count:
    """One epoch of a set: tokens of the busiest worker, dealt in turn and by length; all tokens; seconds of dealing."""

    batch: int
    workers: int
    turn: int
    length: int
    tokens: int
    seconds: float

    def plain(self) -> dict[str, Any]:
        """Return the figures; what is left of perfect is the share of the workers' time that goes into tokens."""
        return {
            "batch": self.batch,
            "workers": self.workers,
            "by_length_of_in_turn": round(self.length / self.turn, 3),
            "in_turn_of_perfect": round(self.tokens / self.workers / self.turn, 3),
            "by_length_of_perfect": round(self.tokens / self.workers / self.length, 3),
            "milliseconds_a_batch": round(1e3 * self.seconds, 3),
        }


def counted(lengths: Lengths, batch: int, workers: int) -> Count:
    """Deal the batches of an epoch both ways.

    Raises:
        UnequalError: a row of a batch was dealt twice, or not at all.
    """
    steps = len(lengths) // batch  # whole ones
    sums, took = {in_turn: 0, by_length: 0}, 0.0
    tokens = 0
    for rows in batches(len(lengths), batch, 0, steps):
        tokens += int(lengths[rows].sum())
        for dealt in sums:
            began = time.perf_counter()
            shares = [dealt(rows, lengths, rank, workers) for rank in range(workers)]
            took += time.perf_counter() - began if dealt is by_length else 0.0
            if sorted(np.concatenate(shares)) != sorted(rows):
                raise UnequalError(f"{dealt.__name__}: a row was dealt twice, or not at all")
            sums[dealt] += max(len(mine) * int(lengths[mine].max(initial=0)) for mine in shares)
    return Count(batch, workers, sums[in_turn], sums[by_length], tokens, took / (steps * workers))


def main(argv: Sequence[str] | None = None) -> int:
    """Count, and tell; return 1 if rows went missing."""
    given, console = arguments(argv), Console(width=120, highlight=False)
    with tempfile.TemporaryDirectory(prefix="raysample-shares-") as place, quiet():
        sets = dict(read(path, given, Path(place)) for path in given.corpora or [None])
    try:
        found = {name: [counted(lengths, *shape) for shape in SHAPES] for name, lengths in sets.items()}
    except UnequalError as error:
        print(error, file=sys.stderr)
        return 1
    show(found, console)
    told = {name: [count.plain() for count in counts] for name, counts in found.items()}
    ratios = [count.length / count.turn for counts in found.values() for count in counts]
    claims = {
        "busiest worker, by length / in turn, median": target(median(ratios), "<=", 0.8),
        "busiest worker, by length / in turn, largest": target(max(ratios), "<=", 1.0),
    }
    finish({"benchmark": "shares", "targets": claims, "found": told, **machine()}, given.json)
    return 0


def read(path: Path | None, given: argparse.Namespace, place: Path) -> tuple[str, Lengths]:
    """Return the name of a set and the tokens of each of its training rows."""
    name = path.stem if path else "simulated traffic"
    if path is None:
        rows = trials.simulated(place / "traffic", given.rows, 0.0)[0].rows
    else:
        frame = trials.read(path)
        rows = trials.some(frame[frame["split"] == "train"], given.rows)
    corpus = describe_source(trials.written(rows, place / f"{name}.parquet"), str(place / name))
    spec = ModelConfig(path=given.model)
    base = models.prepare_base(spec, corpus, str(place / name / "base"))
    return name, load_examples(corpus.uri, corpus.fingerprint, base, spec).encoded.lengths


def show(found: dict[str, list[Count]], console: Console) -> None:
    """Print the table."""
    caption = "of perfect: all tokens / (workers x tokens of the busiest worker, its padding among them)"
    table = Table(title="who takes which rows", caption=caption, box=SIMPLE)
    for heading in ("set", "batch", "workers", "by length / in turn", "of perfect: in turn", "by length", "ms a batch"):
        table.add_column(heading, justify="left" if heading == "set" else "right", no_wrap=True)
    for name, counts in found.items():
        for told in (count.plain() for count in counts):
            table.add_row(
                name,
                str(told["batch"]),
                str(told["workers"]),
                f"{told['by_length_of_in_turn']:.2f}",
                f"{told['in_turn_of_perfect']:.0%}",
                f"{told['by_length_of_perfect']:.0%}",
                f"{told['milliseconds_a_batch']:.2f}",
            )
    console.print(table)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    made = parser("What the busiest worker has to do, with the rows of a batch dealt by length and in turn.")
    made.add_argument(
        "--corpora", type=Path, nargs="+", metavar="PATH", help="Parquet files with id, text, label, split"
    )
    made.add_argument("--model", default="tiny", metavar="PATH", help="folder of an encoder, whose tokenizer is taken")
    made.add_argument("--rows", type=int, metavar="N", help="of a set at most: 20000 if not given, with --quick 2000")
    given = made.parse_args(argv)
    given.rows = given.rows or (2_000 if given.quick else 20_000)
    return given


if __name__ == "__main__":
    sys.exit(main())
