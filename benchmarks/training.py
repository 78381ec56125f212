"""What of a bare loop's speed is left in raysample's, here and on Ray Train.

The same model and the same batches, one torch thread each. A loop written by hand, that of raysample in this
process, the Hugging Face Trainer, raysample on Ray Train with one worker and with two, and a loop by hand with DDP
over two processes. They take turns; ratios are of the steps in steady state within one repetition. What it takes to
start is told apart. Nothing is told before the losses of all agree, step by step.

Two workers and DDP differ by less than a host's moods from one minute to the next, so their ratio comes from trainings
that take turns of seconds: against DDP whose rows are dealt in turn, as everybody does, and against DDP whose rows are
dealt by length, as raysample does, which tells what Ray and the loop cost. `--quick` leaves out what has two processes;
`--processes 2` takes that only.

Prints a table and, as the last line, JSON. Exit code 1 means that the losses disagree.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from threading import Event
from typing import Any

import numpy as np
import torch
from baselines import hf_trainer, raysample_loop, speeds, train_loop, train_material, turns
from baselines.pace import Clock, Pace, over
from baselines.speeds import BARE, DDP, DEALT, ONE, OURS, TRAINER, TWO, Paces, Ratios
from baselines.train_material import Work
from harness.outcome import finish, machine, parser, target
from harness.quietness import quiet

from raysample.core.config import EngineConfig, ModelConfig

TOLERANCE = 2e-3
"""Between the losses of two loops at one step; they are means over a batch, of the order of 1."""
LEFT = 0.95
MODEL = ModelConfig(layers=4, hidden_size=256, vocabulary_size=8_000, dropout=0.0)
SMALL = ModelConfig(layers=2, hidden_size=64, vocabulary_size=2_000, dropout=0.0)
ALONE, TOGETHER = (TRAINER, OURS, BARE, ONE), (TWO, DDP)
CLAIMS: tuple[tuple[str, str, Clock], ...] = ((OURS, BARE, "cpu"), (ONE, BARE, "wall"))
"""Who is held against whom; in this process by CPU seconds, which leave out the time in which others have the core."""
TURNS = 200
"""Steps of those that take turns: twelve turns of each."""


def ways(work: Work, folder: Path, names: Sequence[str] = (*ALONE, *TOGETHER)) -> dict[str, Callable[[], Pace]]:
    """Return the ways to train so named, in that order: those next to each other that are held against each other."""

    def ray(workers: int) -> Pace:
        return raysample_loop.on_ray(work, workers, Path(tempfile.mkdtemp(dir=folder)))

    made: dict[str, Callable[[], Pace]] = {
        TRAINER: lambda: hf_trainer.on_given_batches(work),
        OURS: lambda: raysample_loop.here(work),
        BARE: lambda: train_loop.alone(work),
        ONE: lambda: ray(1),
        TWO: lambda: ray(2),
        DDP: lambda: train_loop.together(work, 2),
    }
    return {name: made[name] for name in names}


def take_turns(methods: Mapping[str, Callable[[], Pace]], repetitions: int) -> dict[str, list[Pace]]:
    """Train every way once per repetition, each repetition starting at another one."""
    paces, names = {name: list[Pace]() for name in methods}, list(methods)
    for repetition in range(repetitions):
        start = repetition % len(names)
        for name in names[start:] + names[:start]:
            paces[name].append(methods[name]())
            print(f"repetition {repetition + 1} of {repetitions}: {name} has trained", flush=True)
    return paces


def in_turns(work: Work, folder: Path, repetitions: int) -> tuple[str, dict[str, list[float]]]:
    """Let two workers on Ray take turns of seconds with DDP by hand, whose rows are dealt in turn or as raysample does.

    Returns what is wrong with the losses of the first `work.steps` (later the training knows its rows by heart, and
    what the rounding of another padding changes grows), and the ratios.
    """
    more, ratios = replace(work, steps=TURNS), dict[str, list[float]]()

    def mine(under_way: Event) -> Pace:
        return raysample_loop.on_ray(more, 2, Path(tempfile.mkdtemp(dir=folder)), under_way)

    for repetition in range(repetitions):
        for name, dealt in {DDP: train_loop.in_turn, DEALT: train_loop.by_length}.items():
            by_hand = turns.Side(partial(train_loop.together, more, 2, dealt), train_loop.processes)
            pair = turns.alternate(turns.Side(mine, raysample_loop.processes), by_hand)
            if problem := wrong({DDP: [replace(pace, losses=pace.losses[: work.steps]) for pace in pair]}):
                return problem, {}
            ratios.setdefault(name, []).append(turns.over(*pair, first=TURNS // 4))
            print(f"turns, pair {repetition + 1} of {repetitions}: {TWO} and {name} have trained", flush=True)
    return "", ratios


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


def targets(paces: Paces, turned: Ratios) -> dict[str, dict[str, Any]]:
    """Return what is claimed of the steady state."""
    claims = {}
    for one, other, clock in CLAIMS:
        if one not in paces:
            continue
        per = "s" if clock == "wall" else "CPU s"
        claims[f"{one} / {other}, steps/{per}"] = target(median(over(paces[one], paces[other], clock)), ">=", LEFT)
    return claims | {f"{TWO} / {name}, steps/s": target(median(found), ">=", LEFT) for name, found in turned.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Check, measure and tell the speeds; return 1 if the losses disagree."""
    from raysample.execution.ray import session

    given = arguments(argv)
    torch.set_num_threads(1)
    spec = SMALL if given.quick else MODEL
    if given.model != "tiny":
        spec = ModelConfig(path=given.model, layers=given.layers, dropout=0.0)
    with tempfile.TemporaryDirectory(prefix="raysample-training-") as place, quiet():
        folder, began = Path(place), time.perf_counter()
        work = train_material.made_up(folder, spec, given.batch_size, given.steps, epochs=4)
        with session.cluster(EngineConfig(address="local", cpus=2)):
            joining = time.perf_counter() - began
            paces = take_turns(ways(work, folder, given.ways), given.repetitions)
            problem, turned = wrong(paces), dict[str, list[float]]()
            if TWO in paces and not problem:
                problem, turned = in_turns(work, folder, given.turns)
    if problem:
        print(f"{problem}, so nothing is told", file=sys.stderr)
        return 1
    speeds.show(paces, turned)
    sizes = {name: getattr(given, name) for name in ("steps", "batch_size", "repetitions", "turns")}
    told = {"sizes": sizes, "model": spec.to_dict(), "losses_differ_by": disagreements(paces), "tolerance": TOLERANCE}
    told |= {"found": speeds.plain(paces), "in_turns": speeds.turned(turned), "ray_init_seconds": round(joining, 2)}
    claims = targets(paces, turned)
    finish({"benchmark": "training", "targets": claims, **told, **machine("ray", "accelerate")}, given.json)
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    made = parser("The training loop against loops by hand and the Hugging Face Trainer.")
    made.add_argument("--processes", type=int, choices=(1, 2), help="only ways with so many; both, with --quick 1")
    made.add_argument("--model", default="tiny", metavar="PATH", help="folder of a BERT; a random one if not given")
    made.add_argument("--layers", type=int, metavar="N", help="keep the first N layers of that model")
    made.add_argument("--batch-size", type=int, metavar="N", help="32 if not given, with --quick 16")
    made.add_argument("--steps", type=int, default=80, metavar="N", help="a multiple of 4; %(default)s")
    made.add_argument("--repetitions", type=int, metavar="N", help="of all ways; 5 if not given, with --quick 1")
    made.add_argument("--turns", type=int, default=3, metavar="N", help="pairs that take turns; %(default)s")
    given = made.parse_args(argv)
    given.batch_size = given.batch_size or (16 if given.quick else 32)
    given.repetitions = given.repetitions or (1 if given.quick else 5)
    chosen = given.processes or (1 if given.quick else None)  # two more times half a minute of start-up
    given.ways = {1: ALONE, 2: TOGETHER, None: (*ALONE, *TOGETHER)}[chosen]
    return given


if __name__ == "__main__":
    sys.exit(main())
