"""Commands of the command line: open tracker and executor, run steps, print where the result is.

The functions are loaded when called: their imports take seconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysample.cli.commands.adopt import run_adopt
    from raysample.cli.commands.examples import run_examples
    from raysample.cli.commands.logs import run_compact, run_expand
    from raysample.cli.commands.runs import (
        run_all,
        run_compare,
        run_fine_tune,
        run_plan,
        run_recommend,
        run_report,
    )
    from raysample.cli.commands.sample import run_apply, run_explain, run_sample
    from raysample.cli.commands.score import run_retry, run_score, run_verify

__all__ = [
    "run_adopt",
    "run_all",
    "run_apply",
    "run_compact",
    "run_compare",
    "run_examples",
    "run_expand",
    "run_explain",
    "run_fine_tune",
    "run_plan",
    "run_recommend",
    "run_report",
    "run_retry",
    "run_sample",
    "run_score",
    "run_verify",
]

_HOMES = {
    "run_apply": "raysample.cli.commands.sample",
    "run_explain": "raysample.cli.commands.sample",
    "run_adopt": "raysample.cli.commands.adopt",
    "run_all": "raysample.cli.commands.runs",
    "run_compact": "raysample.cli.commands.logs",
    "run_compare": "raysample.cli.commands.runs",
    "run_examples": "raysample.cli.commands.examples",
    "run_expand": "raysample.cli.commands.logs",
    "run_fine_tune": "raysample.cli.commands.runs",
    "run_plan": "raysample.cli.commands.runs",
    "run_recommend": "raysample.cli.commands.runs",
    "run_retry": "raysample.cli.commands.score",
    "run_report": "raysample.cli.commands.runs",
    "run_sample": "raysample.cli.commands.sample",
    "run_score": "raysample.cli.commands.score",
    "run_verify": "raysample.cli.commands.score",
}


def __getattr__(name: str) -> Any:
    """Load a command function on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'raysample.cli.commands' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
