"""What is told of the paces: a table, and plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.timing import spread
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from baselines.accuracy import interval
from baselines.pace import Pace, over

BARE, OURS, TRAINER, DDP = "bare loop", "raysample", "Hugging Face Trainer", "bare DDP, 2 processes"
ONE, TWO = "raysample on Ray, 1 worker", "raysample on Ray, 2 workers"
DEALT = "bare DDP, rows dealt by length"
SHOWN = (BARE, OURS, TRAINER, ONE, DDP, TWO)

Paces = Mapping[str, Sequence[Pace]]
Ratios = Mapping[str, Sequence[float]]
"""Of the steps per second of two workers on Ray over those of another way, of trainings that took turns."""


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
    if len(found) > 1 and found is not beside:
        mean, half = interval(ratios, 0.95)
        told["mean_of_by_hand"] = {"mean": round(mean, 4), "half_of_95_percent_interval": round(half, 4)}
    for key, values in {
        "ray_train_seconds": [pace.around for pace in found if pace.around is not None],
        "stolen": [pace.stolen for pace in found if pace.stolen is not None],
    }.items():
        if values:
            told[key] = spread(values, 3)
    return told


def show(paces: Paces, turns: Ratios, console: Console) -> None:
    """Print the table, and under it what the trainings that took turns came to."""
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
    for name, ratios in turns.items():
        told = spread(list(ratios))
        extent = f"({told['lowest']:.3f} to {told['highest']:.3f}, {len(ratios)} pairs)"
        console.print(f"in turns of seconds, {TWO} / {name}: {told['median']:.3f} {extent}")


def turned(turns: Ratios) -> dict[str, Any]:
    """Return the ratios of the trainings that took turns as plain data."""
    return {f"{TWO} / {name}": {**spread(list(ratios)), "each": list(ratios)} for name, ratios in turns.items()}
