"""What scoring costs as a share of one full training, and how much of the reference ranking each cheaper way keeps.

The reference is ten checkpoints of one run in float32. Every setting is scored by the same verbs that users call, in
this process; its cost is its time over that of the optimiser steps of one training on all rows, in the same run (CPU
seconds with one thread, wall seconds with more). The half that the best setting selects is retrained beside the
reference's half and a random one.

Prints a table and, as the last line, JSON. Without `--data` the corpus is simulated traffic.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from cost.halves import Trainer
from cost.settings import REFERENCE, SCORES, Setting, few, scored, settings
from harness.outcome import finish, machine, parser, print_table, target
from harness.quietness import quiet
from label_noise.trials import TRIALS, Trial, simulated, written
from transformers import AutoConfig

import raysample
from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.core.errors import RaysampleError
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.score_table import ScoreTable
from raysample.influence.landmarks import Fitted

Figures = dict[str, Any]
SHARE, RANK = 0.3, 0.95


class Economy:
    """One trial: its run, its reference, and everything that is held against them."""

    def __init__(self, trial: Trial, given: argparse.Namespace, folder: Path) -> None:
        self.given, self.folder = given, folder
        train = raysample.describe(written(trial.rows, folder / "train.parquet"), str(folder / "train"))
        source = written(trial.test, folder / "test.parquet")
        test = raysample.describe(source, str(folder / "test"), labels=train.labels)
        self.trainer = Trainer(train, test, self.model(), self.recipe(), folder)
        self.proxies: dict[int, tuple[CheckpointSet, float]] = {}

    def model(self) -> ModelConfig:
        """Return the encoder."""
        small = self.given.quick and self.given.model == "tiny"
        return ModelConfig(path=self.given.model, dropout=0.0, hidden_size=32 if small else 64)

    def recipe(self) -> FineTuneConfig:
        """Return the recipe: three epochs and ten checkpoints, unless told otherwise."""
        rate = self.given.learning_rate
        return FineTuneConfig(
            epochs=self.given.epochs,
            learning_rate=rate,
            head_learning_rate=max(rate, 1e-3),
            checkpoints=self.given.checkpoints,
            precision=self.given.train_precision,
            group_by_length=True,
        )

    @cached_property
    def traced(self) -> tuple[CheckpointSet, float]:
        """The run that the reference and most settings score with, of seed 0, and its seconds."""
        return self.trainer.traced()

    @property
    def trace(self) -> CheckpointSet:
        """That run alone."""
        return self.traced[0]

    @cached_property
    def full(self) -> list[tuple[float, float]]:
        """Accuracy and seconds of trainings on all rows, one per seed; that of seed 0 saves the checkpoints."""
        trace, seconds = self.traced
        return [(trace.metrics["accuracy"], seconds), *map(self.trainer.trained, range(1, self.given.seeds))]

    def trace_of(self, setting: Setting) -> tuple[CheckpointSet, float]:
        """Return the run that a setting scores with, and what it takes to train it beyond the encoder's own run."""
        if setting.layers is None:
            return self.trace, 0.0
        if setting.layers not in self.proxies:
            self.proxies[setting.layers] = self.trainer.traced(setting.layers)
        return self.proxies[setting.layers]

    def measure(self, setting: Setting) -> tuple[ScoreTable, Figures]:
        """Score by a setting, `repetitions` times; return the table and its cost as shares of one training."""
        trace, training = self.trace_of(setting)
        seconds = []
        for repetition in range(self.given.repetitions):
            place = self.folder / f"{setting.name}-{repetition}"
            table, taken = scored(setting, trace, self.trainer.train, place)
            seconds.append(taken)
        whole = median(second for _, second in self.full)
        told = {"seconds": round(median(seconds), 3), "scoring": round(median(seconds) / whole, 4)}
        return table, {**told, "cost": round((median(seconds) + training) / whole, 4), "quality": quality(table)}

    def settings(self) -> Iterator[Setting]:
        """Return what is measured."""
        if self.given.quick:
            return few(self.given.landmarks)
        layers = AutoConfig.from_pretrained(self.trace.checkpoints[-1].uri).num_hidden_layers
        every = settings(self.given.checkpoints, layers, self.given.landmarks)
        return (one for one in every if self.given.only in one.name)

    def examine(self) -> Figures:
        """Return everything about the trial."""
        told = self.full
        reference, cost = self.measure(REFERENCE)
        print(f"  reference: {cost['cost']:.2f} of a training of {median(s for _, s in told):.1f} s", flush=True)
        tables, found = dict[str, ScoreTable](), dict[str, Figures]()
        for setting in self.settings():
            try:
                tables[setting.name], figures = self.measure(setting)
            except RaysampleError as error:
                found[setting.name] = {"failed": error.problem}
                continue
            figures["ranks"] = ranks(tables[setting.name], reference)
            found[setting.name] = figures
            print(f"  {setting.name}: {figures['cost']:.2f}, vog {figures['ranks']['vog']:.3f}", flush=True)
        chosen = best([{name: found[name] for name in tables}])
        halves = {"the reference": self.trainer.halves(reference, self.given.seeds)}
        halves[f"the best setting ({chosen})"] = self.trainer.halves(tables[chosen], self.given.seeds)
        halves["random"] = self.trainer.halves(reference, self.given.seeds, "random")
        return {
            "rows": self.trainer.train.rows,
            "training_seconds": [round(second, 3) for _, second in told],
            "reference": cost,
            "settings": found,
            "best": chosen,
            "accuracy": {"all rows": [round(accuracy, 4) for accuracy, _ in told], **halves},
        }


def quality(table: ScoreTable) -> Figures:
    """Return what the landmarks' regression told of itself, where there is one."""
    key = str(table.made_by["key"])[:12]
    place = Path(table.uri) / f"parts-{key}" / "landmarks"
    return {name: dict(told) for name, told in Fitted.load(str(place)).quality.items()} if place.exists() else {}


def ranks(table: ScoreTable, reference: ScoreTable) -> dict[str, float]:
    """Return the rank correlation of each score with the reference."""
    mine, its = (one.to_pandas().set_index("row_id") for one in (table, reference))
    return {name: round(float(mine[name].corr(its[name], method="spearman")), 4) for name in SCORES}


def best(trials: Sequence[Figures]) -> str:
    """Return the setting of the highest rank correlation for `vog` (its lowest over the trials) that costs 0.3 or less.

    Where none does so in every trial: the one that comes nearest, by the larger of what lacks in rank and in cost.
    """
    names = [name for name in trials[0] if all("ranks" in found.get(name, {}) for found in trials)]
    rank = {name: min(found[name]["ranks"]["vog"] for found in trials) for name in names}
    cost = {name: max(found[name]["cost"] for found in trials) for name in names}
    cheap = [name for name in names if cost[name] <= SHARE]
    if cheap:
        return max(cheap, key=lambda name: rank[name])
    return min(names, key=lambda name: max(RANK - rank[name], cost[name] - SHARE))


def targets(name: str, figures: Figures) -> Figures:
    """Return the claims about one trial."""
    good = [found for found in figures["settings"].values() if "ranks" in found]
    rank = max((one["ranks"]["vog"] for one in good if one["cost"] <= SHARE), default=float("nan"))
    cost = min((one["cost"] for one in good if one["ranks"]["vog"] >= RANK), default=float("nan"))
    return {
        f"{name}: rank correlation of vog, best setting at {SHARE:g} of a training or less": target(rank, ">=", RANK),
        f"{name}: cost of the cheapest setting with {RANK:g} or more": target(cost, "<=", SHARE),
    }


def show(name: str, figures: Figures) -> None:
    """Print one line per setting, cheapest first."""
    whole = figures["reference"]
    lines = [[REFERENCE.name, f"{whole['cost']:.3f}", f"{whole['scoring']:.3f}", *("1" for _ in SCORES), ""]]
    for setting, found in sorted(figures["settings"].items(), key=lambda pair: pair[1].get("cost", 1e9)):
        if "failed" in found:
            lines.append([setting, found["failed"]])
            continue
        held = found["quality"].get("vog")
        mark = "" if held is None else f"ρ {held['spearman']:.3f}, R² {held['r2']:.3f}, {held['model']}"
        told = (f"{found['ranks'][score]:.3f}" for score in SCORES)
        lines.append([setting, f"{found['cost']:.3f}", f"{found['scoring']:.3f}", *told, mark])
    caption = "cost: of scoring (and of training a proxy) as a share of one training; scores: ρ with the reference"
    headings = ("setting", "cost", "scoring alone", *SCORES, "held-out landmarks")
    print_table(headings, lines, f"{name}: {figures['rows']:,} rows", caption)
    for what, values in figures["accuracy"].items():
        print(f"accuracy, {what}: {mean(values):.4f} ({', '.join(f'{value:.4f}' for value in values)})")
    print(f"best setting: {figures['best']}\n")


def trials(given: argparse.Namespace, folder: Path) -> Iterator[Trial]:
    """Yield what to examine: rows whose true labels nobody asks for here."""
    rows = given.rows or (1000 if given.quick else None)
    if given.data is None:
        print("no --data folder: simulated traffic instead of real corpora")
        yield simulated(folder, max(500, rows or 10_000), 0.1)[0]
        return
    for name in given.trials:
        yield TRIALS[name](given.data, rows, 0.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, score in every way, compare, retrain, print."""
    given, began = arguments(argv), time.perf_counter()
    if given.threads:
        torch.set_num_threads(given.threads)
    claims, found = dict[str, Any](), dict[str, Any]()
    with tempfile.TemporaryDirectory(prefix="raysample-traffic-") as traffic:
        for trial in trials(given, Path(traffic)):
            with tempfile.TemporaryDirectory(prefix="raysample-economy-") as folder, quiet():
                found[trial.name] = Economy(trial, given, Path(folder)).examine()
            claims |= targets(trial.name, found[trial.name])
            show(trial.name, found[trial.name])
    chosen = best([one["settings"] for one in found.values()])
    print(f"best setting over all trials: {chosen}")
    how = ("epochs", "seeds", "checkpoints", "learning_rate", "train_precision", "repetitions")
    told = {**{name: getattr(given, name) for name in how}, "encoder": Path(given.model).name, "best": chosen}
    told["minutes"] = round((time.perf_counter() - began) / 60, 2)
    finish({"benchmark": "economy", "targets": claims, "found": found, **told, **machine()}, given.json)
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    made = parser("What scoring costs, and how much of the reference ranking each cheaper way keeps.")
    made.add_argument("--data", type=Path, metavar="FOLDER", help="of the real corpora; else simulated traffic")
    made.add_argument("--model", default="tiny", metavar="FOLDER", help="an encoder's folder, or tiny")
    made.add_argument("--trials", choices=TRIALS, nargs="+", default=["snli", "clinc"], help="snli and clinc")
    made.add_argument("--rows", type=int, metavar="N", help="at most, of a trial; all if not given, with --quick 1000")
    made.add_argument("--landmarks", type=int, nargs="+", metavar="N", help="500 1000; with --quick 300")
    made.add_argument("--seeds", type=int, metavar="N", help="of full and half trainings: 2, with --quick 1")
    made.add_argument("--repetitions", type=int, default=1, metavar="N", help="of each scoring: %(default)s")
    made.add_argument("--epochs", type=int, default=3, metavar="N", help="%(default)s if not given")
    made.add_argument("--checkpoints", type=int, default=10, metavar="N", help="of a run: %(default)s if not given")
    made.add_argument("--learning-rate", type=float, metavar="RATE", help="1e-3 for tiny, else 1e-4 if not given")
    made.add_argument("--train-precision", choices=("float32", "auto"), default="auto", help="%(default)s")
    made.add_argument("--only", default="", metavar="TEXT", help="settings with this in their names, e.g. preset")
    made.add_argument("--threads", type=int, metavar="N", help="of torch: its own choice if not given")
    given = made.parse_args(argv)
    given.landmarks = given.landmarks or ([300] if given.quick else [500, 1000])
    given.seeds = given.seeds or (1 if given.quick else 2)
    given.learning_rate = given.learning_rate or (1e-3 if given.model == "tiny" else 1e-4)
    return given


if __name__ == "__main__":
    sys.exit(main())
