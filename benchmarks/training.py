"""What of a bare loop's speed is left in raysample's, here and on Ray Train.

The same model and the same batches, one torch thread each. A loop written by hand, that of raysample in this process,
the Hugging Face Trainer, raysample on Ray Train with one worker and with two, and a loop by hand with DDP over two
processes take turns; ratios are of the steps in steady state within one repetition, and start-up is reported apart.
Nothing is reported unless the losses of all agree, step by step.

Two workers and DDP differ by less than the host's speed from one minute to the next, so their ratio comes from
trainings that take turns of seconds: against DDP whose rows are dealt in turn, as everybody does, and against DDP whose
rows are dealt by length, as raysample does, which shows what Ray and the loop cost. `--quick` leaves out what has two
processes; `--processes 2` takes that only.

Exit code 1 means that the losses disagree.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from baselines import train_ways
from baselines.paces import Clock, Pace, Side, alternate, over, over_in_turns
from harness.outcome import Figures, Options, finish, print_table, quiet, target
from harness.timing import spread, take_turns

from raysample.core.config import EngineConfig, ModelConfig
from tests.helpers.training_twins import TrainingWork, train_by_hand, train_by_trainer, train_here, training_work

TOLERANCE = 2e-3
"""Between the losses of two loops at one step; they are means over a batch, of the order of 1."""
LEFT = 0.95
MODEL = ModelConfig(layers=4, hidden_size=256, vocabulary_size=8_000, dropout=0.0)
SMALL = ModelConfig(layers=2, hidden_size=64, vocabulary_size=2_000, dropout=0.0)
STEPS, EPOCHS = 80, 4
BARE, OURS, TRAINER, DDP = "bare loop", "raysample", "Hugging Face Trainer", "bare DDP, 2 processes"
ONE, TWO = "raysample on Ray, 1 worker", "raysample on Ray, 2 workers"
DEALT = "bare DDP, rows dealt by length"
SHOWN = (BARE, OURS, TRAINER, ONE, DDP, TWO)
ALONE, TOGETHER = (TRAINER, OURS, BARE, ONE), (TWO, DDP)
CLAIMS: tuple[tuple[str, str, Clock], ...] = ((OURS, BARE, "cpu"), (ONE, BARE, "wall"))
"""Who is held against whom; in this process by CPU seconds, which leave out the time in which others have the core."""
TURNS, PAIRS = 200, 3
"""Steps of those that take turns (twelve turns of each), and how many pairs do."""
Paces = Mapping[str, Sequence[Pace]]
Ratios = dict[str, list[float]]


def ways(work: TrainingWork, folder: Path) -> dict[str, Callable[[], Pace]]:
    """Return the ways to train by name."""
    here, on_ray = partial(train_ways.in_this_process, work), train_ways.on_ray
    return {
        TRAINER: lambda: here(train_by_trainer, folder=folder / "trainer"),
        OURS: lambda: here(train_here),
        BARE: lambda: here(train_by_hand),
        ONE: lambda: on_ray(work, 1, folder),
        TWO: lambda: on_ray(work, 2, folder),
        DDP: lambda: train_ways.with_ddp(work, 2),
    }


def trained(methods: Mapping[str, Callable[[], Pace]], repetitions: int) -> dict[str, list[Pace]]:
    """Train every way once per repetition, each repetition starting at another one."""
    paces = {name: list[Pace]() for name in methods}
    for name in take_turns(methods, repetitions):
        paces[name].append(methods[name]())
        print(f"repetition {len(paces[name])} of {repetitions}: {name} has trained", flush=True)
    return paces


def in_turns(work: TrainingWork, folder: Path) -> tuple[str, Ratios]:
    """Let two workers on Ray take turns of seconds with DDP by hand, whose rows are dealt in turn or by length.

    Returns what is wrong with the losses of the first `work.steps` (later the training knows its rows by heart, and
    what the rounding of another padding changes grows), and the ratios.
    """
    more, ratios = replace(work, steps=TURNS), Ratios()
    ours = Side(lambda event: train_ways.on_ray(more, 2, folder, event), train_ways.ray_processes)
    for repetition in range(PAIRS):
        for name, deal in {DDP: train_ways.in_turn, DEALT: train_ways.by_length}.items():
            pair = alternate(ours, Side(partial(train_ways.with_ddp, more, 2, deal), train_ways.ddp_processes))
            if problem := wrong({DDP: [replace(pace, losses=pace.losses[: work.steps]) for pace in pair]}):
                return problem, {}
            ratios.setdefault(name, []).append(over_in_turns(*pair, first=TURNS // 4))
            print(f"turns, pair {repetition + 1} of {PAIRS}: {TWO} and {name} have trained", flush=True)
    return "", ratios


def differences(paces: Paces) -> dict[str, float]:
    """Return by how much the losses of each way differ from those of the first run by hand."""
    truth = paces[BARE if BARE in paces else DDP][0]
    return {name: max(truth.difference(pace) for pace in found) for name, found in paces.items()}


def wrong(paces: Paces) -> str:
    """Say what is wrong with the losses; nothing if they agree."""
    losses = np.array(paces[BARE if BARE in paces else DDP][0].losses)
    if np.abs(np.diff(losses)).max() < 10 * TOLERANCE:
        return f"the losses hardly change from step to step ({losses}), so their agreement would show nothing"
    off = {name: difference for name, difference in differences(paces).items() if not difference <= TOLERANCE}
    return f"losses disagree by more than {TOLERANCE}: {off}" if off else ""


def figures(name: str, paces: Paces) -> Figures:
    """Return the figures of one way: steps/s, ratios to the loop by hand of as many processes, what the start took."""
    beside = DDP if name in (DDP, TWO) else BARE
    own, other = paces[name], paces[beside]
    found: Figures = {
        "beside": beside,
        "steps_per_second": spread(1 / pace.seconds() for pace in own),
        "of_by_hand": spread(over(own, other, "wall")),
        "start_up_seconds": spread((pace.start_up for pace in own), 2),
    }
    if all(pace.cpu for pace in (*own, *other)):
        found["of_by_hand_by_cpu"] = spread(over(own, other, "cpu"))
    if around := [pace.around for pace in own if pace.around is not None]:
        found["ray_train_seconds"] = spread(around, 3)
    return found


def show(paces: Paces, turned: Ratios) -> None:
    """Print the table, and under it the ratios of the trainings that took turns."""
    keys = {"steps_per_second": ".2f", "of_by_hand": ".3f", "of_by_hand_by_cpu": ".3f"}
    keys |= {"start_up_seconds": ".1f", "ray_train_seconds": ".1f"}
    lines = []
    for name in (name for name in SHOWN if name in paces):
        found = figures(name, paces)
        lines.append(
            [name, *(format(found[key]["median"], form) if key in found else "" for key, form in keys.items())]
        )
    headings = ("what", "steps/s", "of by hand", "by CPU s", "start-up, s", "Ray's, s")
    caption = "steady state: the second half of the steps; start-up: all that is no step at that pace; medians"
    print_table(headings, lines, "training", caption)
    for name, ratios in turned.items():
        extent = f"({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} pairs)"
        print(f"in turns of seconds, {TWO} / {name}: {median(ratios):.3f} {extent}")


def targets(paces: Paces, turned: Ratios) -> Figures:
    """Return what is claimed of the steady state."""
    claims = {}
    for one, other, clock in CLAIMS:
        if one in paces:
            key = f"{one} / {other}, steps/{'s' if clock == 'wall' else 'CPU s'}"
            claims[key] = target(median(over(paces[one], paces[other], clock)), ">=", LEFT)
    return claims | {f"{TWO} / {name}, steps/s": target(median(found), ">=", LEFT) for name, found in turned.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Check, measure, print; return 1 if the losses disagree."""
    from raysample.execution.ray import session

    parser = Options("The training loop against loops by hand and the Hugging Face Trainer.")
    parser.size("--processes", None, 1, "only the ways with so many; both without it", choices=(1, 2))
    options = parser.read(argv)
    torch.set_num_threads(1)
    names = {1: ALONE, 2: TOGETHER, None: (*ALONE, *TOGETHER)}[options.processes]
    spec, batch_size, repetitions = (SMALL, 16, 1) if options.quick else (MODEL, 32, 5)
    with tempfile.TemporaryDirectory(prefix="raysample-training-") as place, quiet():
        folder, began = Path(place), time.perf_counter()
        work = training_work(folder, spec, rows=batch_size * STEPS // EPOCHS, steps=STEPS, batch_size=batch_size)
        with session.cluster(EngineConfig(address="local", cpus=2)):
            joining = time.perf_counter() - began
            every = ways(work, folder)
            paces = trained({name: every[name] for name in names}, repetitions)
            problem, turned = wrong(paces), Ratios()
            if TWO in paces and not problem:
                problem, turned = in_turns(work, folder)
    if problem:
        print(f"{problem}, so nothing is reported", file=sys.stderr)
        return 1
    show(paces, turned)
    found = {
        "sizes": {"steps": STEPS, "batch_size": batch_size, "repetitions": repetitions, "pairs": PAIRS},
        "model": spec.to_dict(),
        "losses_differ_by": differences(paces),
        "tolerance": TOLERANCE,
        "found": {name: figures(name, paces) for name in paces},
        "in_turns": {f"{TWO} / {name}": {**spread(ratios), "each": ratios} for name, ratios in turned.items()},
        "ray_init_seconds": round(joining, 2),
    }
    finish("training", targets(paces, turned), found, options, "ray", "accelerate")
    return 0


if __name__ == "__main__":
    sys.exit(main())
