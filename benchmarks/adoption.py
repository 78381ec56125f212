"""Do adopted checkpoints score as our own do? A Hugging Face Trainer's runs against ours, same recipe, other seeds.

Every run leaves ten checkpoints. Those of the Trainer are adopted from its output folder; all are scored by the same
verb. Two trainings with different seeds rank rows differently in any case: so the rank correlation between a Trainer's
run and one of ours is held against that between two runs of one kind. The claim: it is lower by at most 0.05, for
each score, averaged over all pairs.

Without `--corpus` the rows are simulated traffic. Prints tables and, as the last line, JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from foreign import trainer
from labelled.trials import Trial, read, simulated, some, written
from measuring.outcome import finish, installed, machine, parser, target
from measuring.quietness import quiet
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

import raysample
from raysample import models
from raysample.core import storage
from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus

OURS, THEIRS = "raysample", "Trainer"
SCORES = ("vog", "el2n", "grand_last", "forgetting", "aum", "loss")
ALLOWED = -0.05
BATCH, CHECKPOINTS = 32, 10
Figures = dict[str, Any]


@dataclass
class Runs:
    """What was trained and scored: by kind, one accuracy and one table of scores per seed."""

    accuracy: dict[str, list[float]] = field(default_factory=lambda: {OURS: [], THEIRS: []})
    tables: dict[str, list[pd.DataFrame]] = field(default_factory=lambda: {OURS: [], THEIRS: []})
    steps: dict[str, list[list[int]]] = field(default_factory=lambda: {OURS: [], THEIRS: []})

    def add(self, kind: str, accuracy: float, steps: list[int], table: pd.DataFrame) -> None:
        """Keep one run."""
        self.accuracy[kind].append(round(accuracy, 4))
        self.tables[kind].append(table.set_index("row_id"))
        self.steps[kind].append(steps)


class Work:
    """One corpus, one recipe, and the place where runs are made, scored and removed again."""

    def __init__(self, trial: Trial, given: argparse.Namespace, folder: Path) -> None:
        self.given, self.folder = given, folder
        self.train = raysample.describe(written(trial.rows, folder / "train.parquet"), str(folder / "train"))
        source = written(trial.test, folder / "test.parquet")
        self.test: Corpus = raysample.describe(source, str(folder / "test"), labels=self.train.labels)
        path, small = given.model or "tiny", given.model is None
        self.spec = ModelConfig(path=path, layers=given.layers, dropout=given.dropout, hidden_size=32 if small else 64)
        steps = given.epochs * -(-self.train.rows // BATCH)
        self.recipe = FineTuneConfig(
            epochs=given.epochs,
            batch_size=BATCH,
            learning_rate=given.learning_rate,
            checkpoint_every=max(1, round(steps / CHECKPOINTS)),
            precision="float32",
        )
        told = [self.train.fingerprint, self.test.fingerprint, self.spec.to_dict(), self.recipe.to_dict()]
        self.identity = storage.fingerprint([told, list(given.scores), given.precision])[:12]
        self.base = models.prepare_base(self.spec, self.train, str(folder / "base"))

    def ours(self, seed: int) -> tuple[float, CheckpointSet]:
        """Fine-tune with raysample."""
        recipe = self.recipe.model_copy(update={"seed": seed})
        place = str(self.folder / "ours")
        trace = raysample.fine_tune(self.train, self.test, place, model=self.spec, recipe=recipe)
        return trace.metrics["accuracy"], trace

    def theirs(self, seed: int) -> tuple[float, CheckpointSet]:
        """Fine-tune with a Trainer, and adopt what it leaves."""
        place = self.folder / "theirs"
        accuracy = trainer.train(self.base, self.spec, self.recipe, self.train, self.test, 100 + seed, place)
        return accuracy, raysample.adopt(str(place), str(self.folder / "adopted"))

    def scored(self, trace: CheckpointSet) -> pd.DataFrame:
        """Score all training rows."""
        given, place = self.given, self.folder / "scores"
        scores = [{"name": name, "checkpoints": "all"} if name == "el2n" else name for name in given.scores]
        table = raysample.score(trace, self.train, scores, str(place), max_length=64, precision=given.precision)
        return table.to_pandas()

    def cleared(self) -> None:
        """Remove a run: ten checkpoints take a gigabyte."""
        for name in ("ours", "theirs", "adopted", "scores"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def made(trial: Trial, given: argparse.Namespace) -> Runs:
    """Train, adopt and score every run, and tell of each as it is done."""
    runs = Runs()
    with tempfile.TemporaryDirectory(prefix="raysample-adoption-") as folder, quiet():
        work, kept = Work(trial, given, Path(folder)), Path(given.folder or folder) / "kept"
        kept.mkdir(parents=True, exist_ok=True)
        for seed, kind in itertools.product(range(given.seeds), (OURS, THEIRS)):
            place = kept / f"{work.identity}-{kind}-{seed}.json"
            if not place.exists():
                one(work, kind, seed, place)
            told = json.loads(place.read_text())
            runs.add(kind, told["accuracy"], told["steps"], pd.read_parquet(place.with_suffix(".parquet")))
            print(f"{kind}, seed {seed}: accuracy {told['accuracy']:.4f}, {told['took']}", flush=True)
    return runs


def one(work: Work, kind: str, seed: int, place: Path) -> None:
    """Make and score one run; keep what is left of it beside `place`, which is written last."""
    began = time.perf_counter()
    accuracy, trace = work.ours(seed) if kind == OURS else work.theirs(seed)
    trained = time.perf_counter()
    work.scored(trace).to_parquet(place.with_suffix(".parquet"))
    took = f"{trained - began:.0f} s to train, {time.perf_counter() - trained:.0f} s to score"
    steps = [checkpoint.step for checkpoint in trace.checkpoints]
    place.write_text(json.dumps({"accuracy": accuracy, "steps": steps, "took": took}))
    work.cleared()


def between(one: pd.DataFrame, other: pd.DataFrame) -> dict[str, float]:
    """Return the rank correlation of each score of two tables; NaN where a score is the same for all rows."""
    columns = [name for name in one.columns if name not in ("label", "class", "tokens")]
    return {name: float(one[name].corr(other[name].reindex(one.index), method="spearman")) for name in columns}


def correlations(runs: Runs) -> dict[str, dict[str, float]]:
    """Return by score the mean rank correlation of pairs: `across` kinds, two seeds of `ours`, two of `theirs`."""
    ours, theirs = runs.tables[OURS], runs.tables[THEIRS]
    pairs = {
        "across": list(itertools.product(theirs, ours)),
        "ours": list(itertools.combinations(ours, 2)),
        "theirs": list(itertools.combinations(theirs, 2)),
    }
    each = {what: [between(*pair) for pair in found] for what, found in pairs.items()}
    return {
        name: {what: float(np.mean([one[name] for one in found])) for what, found in each.items()}
        for name in each["across"][0]
    }


def wrong(runs: Runs) -> list[str]:
    """Return what cannot be: other checkpoints than ours, or other rows."""
    found = []
    if any(steps != runs.steps[OURS][0] for steps in runs.steps[THEIRS]):
        found.append(f"the Trainer's checkpoints are of the steps {runs.steps[THEIRS]}, ours of {runs.steps[OURS][0]}")
    rows = [set(table.index) for tables in runs.tables.values() for table in tables]
    if any(some_rows != rows[0] for some_rows in rows):
        found.append("the tables hold different rows")
    return found


def show(trial: Trial, runs: Runs, found: dict[str, dict[str, float]], console: Console) -> None:
    """Print a line per score."""
    accuracy = "; ".join(f"{kind} {', '.join(f'{v:.4f}' for v in values)}" for kind, values in runs.accuracy.items())
    table = Table(title=f"{trial.name}: {len(trial.rows):,} rows; test accuracy: {accuracy}", box=SIMPLE)
    table.add_column("score", no_wrap=True)
    for heading in ("Trainer and own", "own, two seeds", "Trainer, two seeds", "difference"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, values in found.items():
        told = (values["across"], values["ours"], values["theirs"], gap(values))
        table.add_row(name, *(f"{value:.3f}" for value in told))
    table.caption = "rank correlations, means over pairs; difference: first column less the mean of the other two"
    console.print(table)


def gap(values: dict[str, float]) -> float:
    """Return how much closer a Trainer's run is to one of ours than two runs of one kind are to each other."""
    return values["across"] - (values["ours"] + values["theirs"]) / 2


def trial_of(given: argparse.Namespace, folder: Path) -> Trial:
    """Return the rows: of a Parquet file with a test beside it, or simulated."""
    if given.corpus is None:
        return simulated(folder, max(500, given.rows or 1_500), 0.1)[0]
    rows, test = read(given.corpus), read(given.test)
    return Trial(given.corpus.stem, some(rows, given.rows), some(test, given.test_rows))


def main(argv: Sequence[str] | None = None) -> int:
    """Train, adopt, score, compare, print."""
    given = arguments(argv)
    if not installed("accelerate"):
        print("the Hugging Face Trainer needs accelerate, which is not installed", file=sys.stderr)
        return 1
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory(prefix="raysample-traffic-") as folder:
        trial = trial_of(given, Path(folder))
        runs = made(trial, given)
    for problem in wrong(runs):
        print(f"wrong: {problem}", file=sys.stderr)
    if wrong(runs):
        return 1
    found = correlations(runs)
    show(trial, runs, found, Console(width=110, highlight=False))
    claims = {
        f"{name}: Trainer and own beyond two seeds": target(round(gap(values), 4), ">=", ALLOWED)
        for name, values in found.items()
    }
    how = ("epochs", "seeds", "layers", "dropout", "learning_rate", "precision")
    told = {
        **{name: getattr(given, name) for name in how},
        "encoder": Path(given.model or "tiny").parent.name or "tiny",
    }
    figures = {
        "rows": len(trial.rows),
        "accuracy": runs.accuracy,
        "correlations": plain(found),
        "steps": runs.steps[OURS][0],
    }
    result = {
        "benchmark": "adoption",
        "targets": claims,
        "found": {trial.name: figures},
        **told,
        **machine("accelerate"),
    }
    finish(result, given.json)
    return 0


def plain(found: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """Return numbers, rounded; None where there is none."""
    return {
        name: {what: round(value, 4) if np.isfinite(value) else None for what, value in values.items()}
        for name, values in found.items()
    }


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    made = parser("Do adopted checkpoints score as our own do?")
    made.add_argument("--corpus", type=Path, metavar="FILE", help="Parquet: id, text, label, perhaps text_pair")
    made.add_argument("--test", type=Path, metavar="FILE", help="the same columns, for the accuracy; with --corpus")
    made.add_argument("--model", metavar="FOLDER", help="an encoder's folder; a tiny one if not given")
    made.add_argument("--layers", type=int, metavar="N", help="keep the first N layers of the encoder")
    made.add_argument("--dropout", type=float, metavar="P", help="the encoder's own if not given")
    made.add_argument(
        "--rows",
        type=int,
        metavar="N",
        help="to train on and score; all if not given; simulated ones 1500, at least 500",
    )
    made.add_argument("--test-rows", type=int, default=2_000, metavar="N", help="at most; %(default)s")
    made.add_argument("--seeds", type=int, metavar="N", help="of each kind, 2 or more; 3 if not given, with --quick 2")
    made.add_argument(
        "--epochs", type=int, metavar="N", help="3 if not given, with --quick 12: a tiny model learns slowly"
    )
    made.add_argument("--learning-rate", type=float, metavar="RATE", help="1e-3 for tiny, else 1e-4 if not given")
    made.add_argument("--scores", nargs="+", default=SCORES, metavar="NAME", help="default: %(default)s")
    made.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of scoring")
    made.add_argument(
        "--folder", type=Path, metavar="FOLDER", help="keep the tables there: a stopped benchmark goes on"
    )
    made.add_argument("--threads", type=int, default=1, metavar="N", help="of torch: %(default)s")
    given = made.parse_args(argv)
    if (given.corpus is None) != (given.test is None):
        made.error("give --corpus and --test together")
    given.seeds = given.seeds or (2 if given.quick else 3)
    if given.seeds < 2:
        made.error("two seeds are the least that can be compared")
    given.epochs = given.epochs or (12 if given.quick else 3)
    given.learning_rate = given.learning_rate or (1e-3 if given.model is None else 1e-4)
    return given


if __name__ == "__main__":
    sys.exit(main())
