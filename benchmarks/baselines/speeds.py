"""What is told of the paces: a table, and plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.outcome import print_table
from harness.timing import spread

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
    if all(pace.around is not None for pace in found):
        told["ray_train_seconds"] = spread([pace.around for pace in found if pace.around is not None], 3)
    return told


def show(paces: Paces, turns: Ratios) -> None:
    """Print the table, and under it what the trainings that took turns came to."""
    lines = []
    for name in (name for name in SHOWN if name in paces):
        told = figures(name, paces)

        def cell(key: str, form: str, told: dict[str, Any] = told) -> str:
            return format(told[key]["median"], form) if key in told else ""

        rates = (cell("steps_per_second", ".2f"), cell("of_by_hand", ".3f"), cell("of_by_hand_by_cpu", ".3f"))
        lines.append([name, *rates, cell("start_up_seconds", ".1f"), cell("ray_train_seconds", ".1f")])
    headings = ("what", "steps/s", "of by hand", "by CPU s", "start-up, s", "Ray's, s")
    caption = "steady state: the second half of the steps; start-up: all that is no step at that pace; medians"
    print_table(headings, lines, "training", caption)
    for name, ratios in turns.items():
        told = spread(list(ratios))
        extent = f"({told['lowest']:.3f} to {told['highest']:.3f}, {len(ratios)} pairs)"
        print(f"in turns of seconds, {TWO} / {name}: {told['median']:.3f} {extent}")


def turned(turns: Ratios) -> dict[str, Any]:
    """Return the ratios of the trainings that took turns as plain data."""
    return {f"{TWO} / {name}": {**spread(list(ratios)), "each": list(ratios)} for name, ratios in turns.items()}
