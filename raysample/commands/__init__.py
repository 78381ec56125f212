"""What each word of the command line does: open tracker and engine, run steps, print where the result is.

The functions are loaded when they are called: their libraries take seconds, in which nothing could be said.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysample.commands.adopting import run_adopt
    from raysample.commands.logs import run_compact, run_expand, run_replay, run_sample, run_score
    from raysample.commands.runs import (
        apply_selection,
        explain_row,
        run_all,
        run_compare,
        run_fine_tune,
        run_plan,
        run_recommend,
        run_report,
        run_verify,
    )

__all__ = [
    "apply_selection",
    "explain_row",
    "run_adopt",
    "run_all",
    "run_compact",
    "run_compare",
    "run_expand",
    "run_fine_tune",
    "run_plan",
    "run_recommend",
    "run_replay",
    "run_report",
    "run_sample",
    "run_score",
    "run_verify",
]

_HOMES = {
    "apply_selection": "raysample.commands.runs",
    "explain_row": "raysample.commands.runs",
    "run_adopt": "raysample.commands.adopting",
    "run_all": "raysample.commands.runs",
    "run_compact": "raysample.commands.logs",
    "run_compare": "raysample.commands.runs",
    "run_expand": "raysample.commands.logs",
    "run_fine_tune": "raysample.commands.runs",
    "run_plan": "raysample.commands.runs",
    "run_recommend": "raysample.commands.runs",
    "run_replay": "raysample.commands.logs",
    "run_report": "raysample.commands.runs",
    "run_sample": "raysample.commands.logs",
    "run_score": "raysample.commands.logs",
    "run_verify": "raysample.commands.runs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'raysample.commands' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
