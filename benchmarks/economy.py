"""What scoring costs as a share of one full training, and how much of the reference ranking each cheaper way keeps.

The reference is ten checkpoints of one run in float32. Every setting is scored by the same functions that users call,
in this process; its cost is its time over that of the optimiser steps of one training on all rows, in the same run (CPU
seconds with one thread, wall seconds with more). The half that the best setting selects is retrained beside the
reference's half and a random one. Without `--data` the corpus is simulated traffic.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any, Literal

import torch
from harness.label_errors import Trial, add_trial_options, trials, written
from harness.outcome import Figures, Options, finish, print_table, quiet, target
from harness.timing import StepReporter
from transformers import AutoConfig

import raysample
from raysample.core.config import FineTuneConfig, LandmarksConfig, ModelConfig
from raysample.core.errors import RaysampleError
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.selection.pruned_corpus import apply

SCORES = ("vog", "el2n")
"""What is scored: the dearest score that one backward gives, and one that a forward gives."""
CHECKPOINTS, EPOCHS = 10, 3
SHARE, RANK = 0.3, 0.95
Window = dict[str, int] | Literal["all"]


@dataclass(frozen=True)
class Setting:
    """One way to score.

    Attributes:
        name: how tables call it.
        window: which checkpoints of the run are visited.
        precision: of the scoring.
        layers: of the proxy encoder that scores; None for the encoder itself.
        landmarks: how many rows are scored exactly (at `window`); None for all.
        beside: a cheaper score that all rows get, and its checkpoints; the landmarks' regression may use it.
        preset: whether `economy` chooses the checkpoints.
    """

    name: str
    window: Window = "all"
    precision: Literal["float32", "bfloat16"] = "float32"
    layers: int | None = None
    landmarks: int | None = None
    beside: tuple[str, Window] | None = None
    preset: bool = False

    def score(self, run: CheckpointSet, corpus: Corpus, folder: Path) -> ScoreTable:
        """Score a corpus anew: load the models, fit the landmarks, write the rows."""
        specs: list[Any] = [{"name": name, "checkpoints": self.window} for name in SCORES]
        if self.beside is not None:
            specs.append({"name": self.beside[0], "as": "beside", "checkpoints": self.beside[1]})
        if self.preset:  # only scores that look at all checkpoints are left to it
            specs = ["vog", {"name": "el2n", "checkpoints": "last"}]
        landmarks = None
        if self.landmarks is not None:  # whatever is learnt is taken, so that poor predictions show as such
            landmarks = LandmarksConfig(scores=list(SCORES), count=self.landmarks, min_correlation=0.0)
        economy = {} if self.preset else None
        return raysample.score(
            run, corpus, specs, str(folder), precision=self.precision, landmarks=landmarks, economy=economy
        )


REFERENCE = Setting("reference: all checkpoints, float32")


def settings(layers: int, landmarks: Sequence[int]) -> Iterator[Setting]:
    """Yield what is measured, each in a pass of its own, with so deep an encoder."""
    yield Setting("all checkpoints")
    for kind in ("spread", "first", "last"):
        yield from (Setting(f"{kind} {n}", {kind: n}) for n in (2, 3, 4, 5))
    yield Setting("the preset", preset=True)
    if layers > 1:
        yield Setting(f"proxy of {layers // 2} layers, spread 3", {"spread": 3}, layers=layers // 2)
    for count in landmarks:
        yield Setting(f"{count} landmarks", landmarks=count)
        for score, n in (("vog", 2), ("vog", 3), ("el2n", 3)):
            name = f"{count} landmarks beside {score} spread {n}"
            yield Setting(name, landmarks=count, beside=(score, {"spread": n}))


QUICK = ("spread 3", "300 landmarks", "300 landmarks beside vog spread 2")
"""Settings of a quick run, beside the proxy; in float32."""


def now() -> float:
    """Return the clock in seconds: of this process's CPU time with one thread, of the wall with more."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


class Economy:
    """One trial: its run, its reference, and everything that is held against them."""

    def __init__(self, trial: Trial, options: Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.corpus = raysample.describe(written(trial.rows, folder / "train.parquet"), str(folder / "train"))
        test = written(trial.test, folder / "test.parquet")
        self.test = raysample.describe(test, str(folder / "test"), labels=self.corpus.labels)
        self.runs = dict[int | None, tuple[CheckpointSet, float]]()

    def train(
        self, corpus: Corpus, name: str, seed: int = 0, checkpoints: int = 1, layers: int | None = None
    ) -> tuple[CheckpointSet, float]:
        """Fine-tune the encoder, or its first layers; return the run and the seconds of its steps.

        Saving checkpoints is part of them; the first step counts as a mean one.
        """
        small = self.options.quick and self.options.model == "tiny"
        model = ModelConfig(path=self.options.model, dropout=0.0, hidden_size=32 if small else 64, layers=layers)
        recipe = FineTuneConfig(
            epochs=self.options.epochs,
            learning_rate=self.options.learning_rate,
            head_learning_rate=max(self.options.learning_rate, 1e-3),
            checkpoints=checkpoints,
            group_by_length=True,
            seed=seed,
        )
        stamps, folder = list[float](), str(self.folder / name)
        reporter = StepReporter(lambda _: stamps.append(now()))
        run = raysample.fine_tune(corpus, self.test, folder, model=model, recipe=recipe, reporter=reporter)
        return run, (stamps[-1] - stamps[0]) * len(stamps) / (len(stamps) - 1)

    def run(self, layers: int | None = None) -> tuple[CheckpointSet, float]:
        """Return the run that settings score with, of the encoder or a proxy, and its seconds."""
        if layers not in self.runs:
            self.runs[layers] = self.train(self.corpus, f"run-{layers}", checkpoints=CHECKPOINTS, layers=layers)
        return self.runs[layers]

    def measure(self, setting: Setting, training: float) -> tuple[ScoreTable, Figures]:
        """Score by a setting; return the table and its cost as shares of one training."""
        run, extra = self.run(setting.layers)
        began = now()
        table = setting.score(run, self.corpus, self.folder / setting.name)
        seconds = now() - began
        cost = seconds + (0.0 if setting.layers is None else extra)
        quality = {name: dict(found) for name, found in table.made_by.get("landmarks", {}).items()}
        shares = {"scoring": round(seconds / training, 4), "cost": round(cost / training, 4)}
        return table, {"seconds": round(seconds, 3), **shares, "quality": quality}

    def halves(self, table: ScoreTable, policy: str) -> list[float]:
        """Return the test accuracy of the half that a policy keeps by `vog` within each class, for each seed."""
        options: dict[str, Any] = {"score": "vog", "normalise": "class"} if policy != "random" else {}
        found = []
        for seed in range(self.options.seeds):
            place = f"half-{len(list(self.folder.iterdir()))}"
            half = raysample.sample(table, policy, fraction=0.5, seed=seed, **options)
            rows = apply(half, self.corpus, str(self.folder / place))
            source = self.corpus.source.model_copy(update={"path": rows.uri})
            corpus = raysample.describe(source, labels=self.corpus.labels)
            found.append(round(self.train(corpus, f"{place}-run", seed)[0].metrics["accuracy"], 4))
        return found

    def settings(self) -> list[Setting]:
        """Return what is measured: by default all in bfloat16."""
        layers = AutoConfig.from_pretrained(self.run()[0].checkpoints[-1].uri).num_hidden_layers
        every = settings(layers, self.options.landmarks)
        if self.options.quick:
            return [one for one in every if one.name in QUICK or one.layers]
        low = (replace(one, name=f"{one.name}, bfloat16", precision="bfloat16") for one in every)
        return [one for one in low if self.options.only in one.name]

    def examine(self) -> Figures:
        """Return everything about the trial."""
        more = (self.train(self.corpus, f"full-{seed}", seed) for seed in range(1, self.options.seeds))
        full = [self.run(), *more]
        training = median(seconds for _, seconds in full)
        reference, whole = self.measure(REFERENCE, training)
        print(f"  reference: {whole['cost']:.2f} of a training of {training:.1f} s", flush=True)
        tables, found = dict[str, ScoreTable](), dict[str, Figures]()
        for setting in self.settings():
            try:
                table, figures = self.measure(setting, training)
            except RaysampleError as error:
                found[setting.name] = {"failed": error.problem}
                continue
            figures["ranks"] = ranks(table, reference)
            tables[setting.name], found[setting.name] = table, figures
            print(f"  {setting.name}: {figures['cost']:.2f}, vog {figures['ranks']['vog']:.3f}", flush=True)
        chosen = best(found)
        accuracy = {
            "all rows": [round(run.metrics["accuracy"], 4) for run, _ in full],
            "the reference": self.halves(reference, "hard"),
            f"the best setting ({chosen})": self.halves(tables[chosen], "hard"),
            "random": self.halves(reference, "random"),
        }
        sizes = {"rows": self.corpus.rows, "training_seconds": [round(seconds, 3) for _, seconds in full]}
        return {**sizes, "reference": whole, "settings": found, "best": chosen, "accuracy": accuracy}


def ranks(table: ScoreTable, reference: ScoreTable) -> dict[str, float]:
    """Return the rank correlation of each score with the reference."""
    mine, its = (one.to_pandas().set_index("row_id") for one in (table, reference))
    return {name: round(float(mine[name].corr(its[name], method="spearman")), 4) for name in SCORES}


def best(found: Figures) -> str:
    """Return the setting of the highest rank correlation for `vog` that costs 0.3 of a training or less.

    If there is none: the one that comes nearest, by the larger of what lacks in rank and in cost.
    """
    rank = {name: one["ranks"]["vog"] for name, one in found.items() if "ranks" in one}
    cheap = [name for name in rank if found[name]["cost"] <= SHARE]
    if cheap:
        return max(cheap, key=lambda name: rank[name])
    return min(rank, key=lambda name: max(RANK - rank[name], found[name]["cost"] - SHARE))


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
        values = (f"{found['ranks'][score]:.3f}" for score in SCORES)
        lines.append([setting, f"{found['cost']:.3f}", f"{found['scoring']:.3f}", *values, mark])
    caption = "cost: of scoring (and of training a proxy) as a share of one training; scores: ρ with the reference"
    headings = ("setting", "cost", "scoring alone", *SCORES, "held-out landmarks")
    print_table(headings, lines, f"{name}: {figures['rows']:,} rows", caption)
    for what, values in figures["accuracy"].items():
        print(f"accuracy, {what}: {mean(values):.4f} {values}")
    print(f"best setting: {figures['best']}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Train, score in every way, compare, retrain, print."""
    parser = Options("What scoring costs, and how much of the reference ranking each cheaper way keeps.")
    add_trial_options(parser, ("snli", "clinc"), quick_rows=1_000)
    parser.size("--landmarks", [500, 1_000], [300], nargs="+")
    parser.size("--seeds", 2, 1, "of full and half trainings")
    parser.add_argument("--epochs", type=int, default=EPOCHS, metavar="N", help="%(default)s if not given")
    parser.add_argument("--only", default="", metavar="TEXT", help="settings with this in their names, e.g. preset")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch: its own choice if not given")
    options = parser.read(argv)
    options.learning_rate = 1e-3 if options.model == "tiny" else 1e-4
    claims, found = Figures(), Figures()
    if options.threads:
        torch.set_num_threads(options.threads)
    for trial in trials(options, own=True):
        with tempfile.TemporaryDirectory(prefix="raysample-economy-") as folder, quiet():
            found[trial.name] = Economy(trial, options, Path(folder)).examine()
        claims |= targets(trial.name, found[trial.name])
        show(trial.name, found[trial.name])
    finish("economy", claims, {"found": found}, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
