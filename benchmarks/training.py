"""What of a bare loop's speed is left in raysample's, here and on Ray Train; and whether it trains as well.

Speed: the same model and the same batches, one torch thread each. A loop written by hand, that of raysample in this
process, the Hugging Face Trainer, raysample on Ray Train with one worker and with two, and a loop by hand with DDP
over two processes. They take turns; ratios are of the steps in steady state within one repetition. What it takes to
start is told apart. Nothing is told before the losses of all agree, step by step. `--quick` leaves out those with two
processes; `--processes 2` takes those only, so that they can be repeated more often.

Accuracy (`--accuracy`): raysample and the Hugging Face Trainer train on the same rows by the same recipe, each with
its own shuffling, several seeds; told is the mean of the paired differences with its interval.

Prints a table and, as the last line, JSON. Exit code 1 means that the losses disagree.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from measuring.outcome import finish, machine, parser, target
from measuring.quietness import quiet
from measuring.timing import spread
from paces import accuracy, bare, equality, hugging, material, ours
from paces.accuracy import Pairs, Trial, interval
from paces.material import Work
from paces.pace import Clock, Pace, over, watched
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from raysample.config import EngineConfig, FineTuneConfig, ModelConfig

TOLERANCE = 2e-3
"""Between the losses of two loops at one step; they are means over a batch, of the order of 1."""
LEFT = 0.95
BARE, OURS, TRAINER, DDP = "bare loop", "raysample", "Hugging Face Trainer", "bare DDP, 2 processes"
ONE, TWO = "raysample on Ray, 1 worker", "raysample on Ray, 2 workers"
SHOWN = (BARE, OURS, TRAINER, ONE, DDP, TWO)
MODEL = ModelConfig(layers=4, hidden_size=256, vocabulary_size=8_000, dropout=0.0)
SMALL = ModelConfig(layers=2, hidden_size=64, vocabulary_size=2_000, dropout=0.0)
ALONE, TOGETHER = (TRAINER, OURS, BARE, ONE), (TWO, DDP)
CLAIMS: tuple[tuple[str, str, Clock], ...] = ((OURS, BARE, "cpu"), (ONE, BARE, "wall"), (TWO, DDP, "wall"))
"""Who is held against whom; in this process by CPU seconds, which leave out the time in which others have the core."""

Paces = dict[str, list[Pace]]


def ways(work: Work, folder: Path, names: Sequence[str] = (*ALONE, *TOGETHER)) -> dict[str, Callable[[], Pace]]:
    """Return the ways to train so named, in that order: those next to each other that are held against each other."""

    def ray(workers: int) -> Pace:
        return ours.on_ray(work, workers, Path(tempfile.mkdtemp(dir=folder)))

    made: dict[str, Callable[[], Pace]] = {
        TRAINER: lambda: hugging.on_given_batches(work),
        OURS: lambda: ours.here(work),
        BARE: lambda: bare.alone(work),
        ONE: lambda: ray(1),
        TWO: lambda: ray(2),
        DDP: lambda: bare.together(work, 2),
    }
    return {name: made[name] for name in names}


def take_turns(methods: Mapping[str, Callable[[], Pace]], repetitions: int) -> Paces:
    """Train every way once per repetition, each repetition starting at another one."""
    paces, names = {name: list[Pace]() for name in methods}, list(methods)
    for repetition in range(repetitions):
        start = repetition % len(names)
        for name in names[start:] + names[:start]:
            paces[name].append(watched(methods[name]))
    return paces


def disagreements(paces: Paces) -> dict[str, float]:
    """Return by how much the losses of each way differ from those of the first run by hand."""
    truth = _truth(paces)
    return {name: max(truth.apart(pace) for pace in found) for name, found in paces.items()}


def _truth(paces: Paces) -> Pace:
    return paces[BARE if BARE in paces else DDP][0]


def wrong(paces: Paces) -> str:
    """Say what is wrong with the losses; nothing where nothing is."""
    losses, found = np.array(_truth(paces).losses), disagreements(paces)
    if np.abs(np.diff(losses)).max() < 10 * TOLERANCE:
        return f"the losses hardly change from step to step ({losses}), so that they agree would tell nothing"
    off = {name: apart for name, apart in found.items() if not apart <= TOLERANCE}
    return f"losses disagree by more than {TOLERANCE}: {off}" if off else ""


def targets(paces: Paces) -> dict[str, dict[str, Any]]:
    """Return what is claimed of the steady state."""
    claims = {}
    for one, other, clock in CLAIMS:
        if one not in paces:
            continue
        per = "s" if clock == "wall" else "CPU s"
        claims[f"{one} / {other}, steps/{per}"] = target(median(over(paces[one], paces[other], clock)), ">=", LEFT)
    return claims


def plain(paces: Paces) -> dict[str, Any]:
    """Return all figures as plain data."""
    return {name: {"whose": _reference(name), **figures(name, paces)} for name in paces}


def _reference(name: str) -> str:
    return DDP if name in (DDP, TWO) else BARE


def figures(name: str, paces: Paces) -> dict[str, Any]:
    """Return the figures of one way: steps/s, ratios to the loop by hand of as many processes, what the start took."""
    found, beside = paces[name], paces[_reference(name)]
    ratios = over(found, beside, "wall")
    told: dict[str, Any] = {
        "steps_per_second": spread([1 / pace.seconds() for pace in found]),
        "of_by_hand": spread(ratios),
        "whole_seconds": spread([pace.whole for pace in found], 2),
        "start_up_seconds": spread([pace.start_up for pace in found], 2),
    }
    if all(pace.cpu for pace in (*found, *beside)):
        told["of_by_hand_by_cpu"] = spread(over(found, beside, "cpu"))
    if len(found) > 1:
        mean, half = interval(ratios, 0.95)
        told["mean_of_by_hand"] = {"mean": round(mean, 4), "half_of_95_percent_interval": round(half, 4)}
    for key, values in {
        "ray_train_seconds": [pace.around for pace in found if pace.around is not None],
        "stolen": [pace.stolen for pace in found if pace.stolen is not None],
    }.items():
        if values:
            told[key] = spread(values, 3)
    return told


def show(paces: Paces, console: Console) -> None:
    """Print the table."""
    caption = (
        "steady state: the second half of the steps; start-up: all that is no step at that pace; medians, but mean"
    )
    table = Table(title="training", caption=caption, box=SIMPLE)
    for heading in ("what", "steps/s", "of by hand", "mean, 95 %", "by CPU s", "start-up", "Ray's", "stolen"):
        table.add_column(heading, justify="left" if heading == "what" else "right", no_wrap=True)
    for name in (name for name in SHOWN if name in paces):
        told = figures(name, paces)
        wall, cpu, ray = (told.get(key) for key in ("of_by_hand", "of_by_hand_by_cpu", "ray_train_seconds"))
        stolen, mean = told.get("stolen"), told.get("mean_of_by_hand")
        table.add_row(
            name,
            f"{told['steps_per_second']['median']:.2f}",
            f"{wall['median']:.3f}",
            "" if mean is None else f"{mean['mean']:.3f} ± {mean['half_of_95_percent_interval']:.3f}",
            "" if cpu is None else f"{cpu['median']:.3f}",
            f"{told['start_up_seconds']['median']:.1f} s",
            "" if ray is None else f"{ray['median']:.1f} s",
            "" if stolen is None else f"{stolen['median']:.1%}",
        )
    console.print(table)


def speed(given: argparse.Namespace, console: Console) -> int:
    """Check, measure and tell the speeds."""
    from raysample.on_ray import session

    spec = SMALL if given.quick else MODEL
    if given.model != "tiny":
        spec = ModelConfig(path=given.model, layers=given.layers, dropout=0.0)
    with tempfile.TemporaryDirectory(prefix="raysample-training-") as place, quiet():
        folder, began = Path(place), time.perf_counter()
        work = material.made_up(folder, spec, given.batch_size, given.steps, epochs=4)
        with session.cluster(EngineConfig(address="local", cpus=2)):
            joining = time.perf_counter() - began
            paces = take_turns(ways(work, folder, given.ways), given.repetitions)
    if problem := wrong(paces):
        print(f"{problem}, so nothing is told", file=sys.stderr)
        return 1
    show(paces, console)
    sizes = {name: getattr(given, name) for name in ("steps", "batch_size", "repetitions")}
    told = {"sizes": sizes, "model": spec.plain(), "losses_differ_by": disagreements(paces), "tolerance": TOLERANCE}
    told |= {"found": plain(paces), "ray_init_seconds": round(joining, 2)}
    finish({"benchmark": "training", "targets": targets(paces), **told, **machine("ray", "accelerate")}, given.json)
    return 0


def accuracies(given: argparse.Namespace, console: Console) -> int:
    """Train, test and tell the accuracies."""
    recipe = FineTuneConfig(
        epochs=given.epochs,
        batch_size=given.batch_size,
        learning_rate=given.learning_rate,
        precision=given.precision,
    )
    spec = ModelConfig(path=given.model, layers=given.layers, hidden_size=32 if given.quick else 64)
    trials = dict[str, tuple[Trial, Pairs]]()
    with tempfile.TemporaryDirectory(prefix="raysample-accuracy-") as place, quiet():
        for path in given.corpora or [None]:
            folder = Path(place, path.stem if path else "simulated")
            trial = (
                accuracy.made_up(given.rows, folder)
                if path is None
                else accuracy.real(path, given.rows, given.test_rows, folder)
            )
            trials[trial.name] = (
                trial,
                accuracy.compared(trial, spec, recipe, given.seeds, folder, given.folder or folder),
            )
    equality.show(trials, console)
    found = {name: equality.plain(*both) for name, both in trials.items()}
    told = {"found": found, "seeds": given.seeds, "recipe": recipe.plain(), "encoder": Path(given.model).name}
    told |= {"layers": given.layers}
    finish(
        {"benchmark": "training --accuracy", "targets": equality.equal(trials), **told, **machine("accelerate")},
        given.json,
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Compare speeds, or accuracies; return 1 if the losses disagree."""
    given, console = arguments(argv), Console(width=120, highlight=False)
    torch.set_num_threads(1)
    return accuracies(given, console) if given.accuracy else speed(given, console)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    made = parser("The training loop against loops by hand and the Hugging Face Trainer: speed, and accuracy.")
    made.add_argument("--accuracy", action="store_true", help="compare accuracies after training instead of speeds")
    made.add_argument(
        "--processes", type=int, choices=(1, 2), help="only ways with so many; both if not given, with --quick 1"
    )
    made.add_argument("--model", default="tiny", metavar="PATH", help="folder of a BERT; a random one if not given")
    made.add_argument("--layers", type=int, metavar="N", help="keep the first N layers of that model")
    made.add_argument("--batch-size", type=int, metavar="N", help="32 if not given, with --quick 16")
    made.add_argument("--steps", type=int, metavar="N", help="a multiple of 4; 80 if not given, with --quick too")
    made.add_argument("--repetitions", type=int, metavar="N", help="of all ways; 5 if not given, with --quick 1")
    made.add_argument(
        "--corpora", type=Path, nargs="+", metavar="PATH", help="Parquet files with id, text, label, split"
    )
    made.add_argument("--rows", type=int, metavar="N", help="to train on: 2500 if not given, with --quick 600")
    made.add_argument("--test-rows", type=int, default=1_000, metavar="N", help="at most: %(default)s")
    made.add_argument("--seeds", type=int, metavar="N", help="3 if not given, with --quick 2")
    made.add_argument("--epochs", type=int, metavar="N", help="of --accuracy; 5 if not given, with --quick 4")
    made.add_argument("--learning-rate", type=float, metavar="RATE", help="of --accuracy; 2e-3 for tiny, else 5e-4")
    made.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of --accuracy")
    made.add_argument(
        "--folder", type=Path, metavar="FOLDER", help="keep the accuracies there: a stopped benchmark goes on"
    )
    given = made.parse_args(argv)
    sizes = {"batch_size": (32, 16), "steps": (80, 80), "repetitions": (5, 1), "rows": (2_500, 600)}
    for name, (full, small) in {**sizes, "seeds": (3, 2), "epochs": (5, 4)}.items():
        setattr(given, name, getattr(given, name) or (small if given.quick else full))
    chosen = given.processes or (1 if given.quick else None)  # two more times half a minute of start-up
    given.ways = {1: ALONE, 2: TOGETHER, None: (*ALONE, *TOGETHER)}[chosen]
    given.learning_rate = given.learning_rate or (2e-3 if given.model == "tiny" else 5e-4)
    return given


if __name__ == "__main__":
    sys.exit(main())
