"""What the scoring of a log costs: by its unique contents, not its rows; and a further day by what is new on that day.

Growth: logs of made-up traffic, in which the k-th most frequent of n contents has a share of about 1 / (k ln n), are
compacted and scored with a tiny encoder, each size in a process of its own. Beside it, up to a million rows, every row
is scored as it comes (a shard visits its repeats once, too).

Days: each morning the log has one day more, new rows and repeats of rows of any day so far. It is compacted and scored
into the same folders; at the end all days are done at once, from nothing. With `--corpus` the rows are those of a
labelled Parquet file (columns text, label), with `--model` the encoder is a real one, fine-tuned on the first day.

Exit code 1 means that a daily update gives other scores, or that a size of the growth failed.
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

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from harness.isolated import peaks_below, run_isolated, sampled
from harness.made_logs import CLASSES, growing, made_up, source, write_part, zipf_log
from harness.outcome import Figures, Options, finish, print_table, target

from raysample import api  # loaded here, not when the clock runs
from raysample.core.config import EngineConfig, ModelConfig
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.score_table import ScoreTable

PARTS = ("growth", "days")
GROWTH_SCORES, DAY_SCORES = ("el2n", "grand_last"), ("vog", "el2n", "grand_last")
TINY = ModelConfig(hidden_size=16, vocabulary_size=300, max_length=8, layers=1)
PARTITIONS, TRAIN_ROWS, MAX_LENGTH = 8, 512, 32
EVERY_ROW, LIMIT = 1_000_000, 3_000
"""Rows up to which every row is scored, too; seconds for each size."""
DIFFERENCE = 1e-3


def tuned(rows: Any, place: Path, model: ModelConfig, labels: Sequence[str] | None, **recipe: Any) -> CheckpointSet:
    """Fine-tune for one epoch."""
    train = api.describe(rows, str(place / "train"), labels=labels)
    settings = {"epochs": 1, "checkpoints": 2, "precision": "float32", **recipe}
    return api.fine_tune(train, train, str(place / "run"), model=model, recipe=settings)


def compact_and_score(
    run: CheckpointSet, log: Path, place: Path, scores: Sequence[str], engine: EngineConfig | None = None
) -> tuple[Figures, ScoreTable]:
    """Compact a log as it is now, and score its contents; return the figures and the table."""
    began = time.perf_counter()
    contents = api.compact(source(log), str(place / "contents"), engine=engine)
    middle = time.perf_counter()
    table = api.score(run, contents, scores, str(place / "scores"), engine=engine)
    seconds = {"compacting": middle - began, "scoring": time.perf_counter() - middle}
    new = int(table.cost["new_contents"])
    return {"rows": contents.counts["usable"], "contents": table.counts["in"], "new": new, **seconds}, table


def grow(run: str, place: str, engine: EngineConfig) -> Figures:
    """Compact a log and score its contents."""
    torch.set_num_threads(1)
    with sampled(lambda: max(peaks_below("ray::"), default=0.0), 0.5) as peaks:
        figures, _ = compact_and_score(CheckpointSet.load(run), Path(place, "log"), Path(place), GROWTH_SCORES, engine)
    return {**figures, "workers_peak_mib": max(peaks, default=0.0) or None}


def every_row(run: str, place: str, engine: EngineConfig) -> Figures:
    """Score every row of a log as it comes."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    corpus = api.describe(source(Path(place, "log")), f"{place}/corpus", labels=CLASSES)
    api.score(CheckpointSet.load(run), corpus, GROWTH_SCORES, f"{place}/rows", engine=engine)
    return {"seconds": time.perf_counter() - began}


def grown(options: Namespace, place: Path) -> dict[int, Figures]:
    """Return the figures at every size; `gain`: how many times their seconds scoring every row takes."""
    run, found = tuned(zipf_log(place / "first", 2_000, 1), place, TINY, CLASSES).uri, dict[int, Figures]()
    engine = EngineConfig(kind="local") if options.quick else EngineConfig(kind="ray", address="local")
    for rows in options.rows:
        with tempfile.TemporaryDirectory(dir=place) as folder:
            zipf_log(Path(folder, "log"), rows, PARTITIONS, seed=rows)
            one = run_isolated(grow, LIMIT, run, folder, engine)
            other = run_isolated(every_row, LIMIT, run, folder, engine) if rows <= EVERY_ROW else {}
        if "failed" not in one and "seconds" in other:
            one["gain"] = other["seconds"] / (one["compacting"] + one["scoring"])
        found[rows] = one
        print(f"  {rows:,} rows: done", flush=True)
    return found


def growth_targets(found: dict[int, Figures]) -> Figures:
    """Return the claims: time per content, memory, and what compacting gains, at the largest sizes."""
    every = [found[rows] for rows in sorted(found)]
    least, most, name = every[0], every[-1], f"{max(found):,} rows against {min(found):,}"
    claims = {f"{name}: driver's peak memory": target(most["peak_mib"] / least["peak_mib"], "<=", 1.5)}
    if least["workers_peak_mib"] and most["workers_peak_mib"]:
        value = most["workers_peak_mib"] / least["workers_peak_mib"]
        claims[f"{name}: a worker's peak memory"] = target(value, "<=", 1.5)
    if len(every) > 2:  # differences leave out what starting takes
        steps = [(b["scoring"] - a["scoring"]) / (b["contents"] - a["contents"]) for a, b in pairwise(every)]
        key = "seconds of scoring each further content, last step against the first"
        claims[key] = target(steps[-1] / steps[0], "<=", 1.2)
    both = [rows for rows, figures in found.items() if "gain" in figures]
    if both and max(both) >= 100_000:  # below, starting costs more than repeats
        claims[f"{max(both):,} rows: gain over scoring every row"] = target(found[max(both)]["gain"], ">=", 1.5)
    return claims


def day_by_day(options: Namespace, place: Path) -> tuple[list[Figures], Figures, float]:
    """Return the figures of every morning, those of all days at once, and the largest difference of a score."""
    corpus, names, model = (
        made_up(np.arange(options.contents)),
        None,
        ModelConfig(path=options.model, max_length=MAX_LENGTH),
    )
    if options.corpus is not None:
        corpus = pq.read_table(options.corpus, columns=["text", "label"])
        corpus = corpus.set_column(1, "label", corpus["label"].cast(pa.string()))
        names = sorted(set(corpus["label"].to_pylist()))
    corpus = corpus.take(np.sort(np.random.default_rng(0).permutation(corpus.num_rows)[: options.contents]))
    log, mornings = place / "log", list[Figures]()
    for day, rows in enumerate(growing(corpus, options.days, options.day_rows)):
        write_part(log, day, rows)
        if day == 0:
            first = source(log).model_copy(update={"limit": TRAIN_ROWS})
            run = tuned(first, place, model, names, learning_rate=1e-4)
        figures, daily = compact_and_score(run, log, place / "daily", DAY_SCORES)
        mornings.append(figures)
        print("  day {0}: {new:,} of {contents:,} contents new".format(day + 1, **figures), flush=True)
    whole, once = compact_and_score(run, log, place / "once", DAY_SCORES)
    return mornings, whole, difference(daily, once)


def difference(daily: ScoreTable, once: ScoreTable) -> float:
    """Return the largest difference of a score, in its standard deviations; infinite if the contents differ."""
    one, other = (table.to_pandas().set_index("row_id") for table in (daily, once))
    if not one.index.equals(other.index) or not (one["count"] == other["count"]).all():
        return float("inf")
    return max(float((one[name] - other[name]).abs().max() / other[name].std()) for name in DAY_SCORES)


def day_targets(mornings: Sequence[Figures], whole: Figures, differs: float) -> Figures:
    """Return the claims of the last day."""
    before, last = mornings[-2:]
    each = last["scoring"] / max(1, last["new"]) / (whole["scoring"] / whole["new"])
    beyond = last["new"] - (last["contents"] - before["contents"])
    key = "daily against at once: largest difference in standard deviations"
    return {
        "last day: contents visited beyond the new ones": target(beyond, "<=", 0),
        "last day: seconds per new content against all at once": target(each, "<=", 1.3),
        key: target(differs, "<=", DIFFERENCE),
    }


def cells(figures: Figures) -> list[str]:
    """Return contents, seconds, and milliseconds per content that was visited, as cells of a table."""
    each = f"{1e3 * figures['scoring'] / figures['new']:.3f}" if figures["new"] else "-"
    return [f"{figures['contents']:,}", f"{figures['compacting']:.2f}", f"{figures['scoring']:.2f}", each]


def show_growth(found: dict[int, Figures]) -> None:
    """Print one line per size."""
    lines = []
    for rows, one in found.items():
        memory = [f"{one[key]:,.0f}" if one[key] else "-" for key in ("peak_mib", "workers_peak_mib")]
        lines.append([f"{rows:,}", *cells(one), *memory, f"{one['gain']:.2f} x" if "gain" in one else "-"])
    headings = ("rows", "contents", "compact, s", "score, s", "ms per content", "driver MiB", "worker MiB", "gain")
    print_table(headings, lines, left=0)


def show_days(mornings: Sequence[Figures], whole: Figures) -> None:
    """Print one line per morning, and one of all days at once."""
    days = {**{str(day): one for day, one in enumerate(mornings, start=1)}, "all at once": whole}
    headings = ("day", "rows so far", "new", "contents", "compact, s", "score, s", "ms per new content")
    print_table(headings, [[day, f"{one['rows']:,}", f"{one['new']:,}", *cells(one)] for day, one in days.items()])


def main(argv: Sequence[str] | None = None) -> int:
    """Write logs, compact, score, compare, print."""
    parser = Options("What the scoring of a log costs as the log grows, and what a further day costs.")
    parser.add_argument("--parts", choices=PARTS, nargs="+", default=PARTS, help="both if not given")
    parser.size(
        "--rows", [10**5, 10**6, 10**7], [2_000, 20_000], "of growth, which --quick runs without Ray", nargs="+"
    )
    parser.add_argument("--corpus", type=Path, metavar="PATH", help="of days: Parquet with text and label, or made up")
    parser.add_argument("--model", default="tiny", metavar="PATH", help="of days, an encoder's folder: %(default)s")
    parser.size("--days", 5, 3)
    parser.size("--day-rows", 200_000, 3_000, "of a day")
    parser.size("--contents", 100_000, 2_000, "rows that repeats are of")
    options = parser.read(argv)
    claims, found, differs = Figures(), Figures(), 0.0
    torch.set_num_threads(1 if options.quick else 2)
    with tempfile.TemporaryDirectory(prefix="raysample-logs-") as folder:
        if "growth" in options.parts:
            sizes = grown(options, Path(folder, "growth"))
            if failed := {rows: one["failed"] for rows, one in sizes.items() if "failed" in one}:
                print(f"a size failed, so nothing is reported of growth: {failed}", file=sys.stderr)
                return 1
            show_growth(sizes)
            claims |= growth_targets(sizes)
            found["growth"] = sizes
        if "days" in options.parts:
            mornings, whole, differs = day_by_day(options, Path(folder, "days"))
            show_days(mornings, whole)
            claims |= day_targets(mornings, whole, differs)
            found["days"] = {"mornings": mornings, "at_once": whole}
    finish("logs", claims, found, options, "pyarrow", "ray")
    return int(differs > DIFFERENCE)


if __name__ == "__main__":
    sys.exit(main())
