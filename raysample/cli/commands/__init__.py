"""Commands of the command line: open tracker and executor, run steps, print where the result is.

The functions are loaded when called: their imports take seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysample.core.lazy import lazy_names

if TYPE_CHECKING:
    from raysample.cli.commands.adopt import run_adopt
    from raysample.cli.commands.examples import run_examples
    from raysample.cli.commands.logs import run_compact, run_expand
    from raysample.cli.commands.prune import run_prune
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
    "run_prune",
    "run_recommend",
    "run_report",
    "run_retry",
    "run_sample",
    "run_score",
    "run_verify",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "raysample.cli.commands.adopt": ("run_adopt",),
        "raysample.cli.commands.examples": ("run_examples",),
        "raysample.cli.commands.logs": ("run_compact", "run_expand"),
        "raysample.cli.commands.prune": ("run_prune",),
        "raysample.cli.commands.runs": (
            "run_all",
            "run_compare",
            "run_fine_tune",
            "run_plan",
            "run_recommend",
            "run_report",
        ),
        "raysample.cli.commands.sample": ("run_apply", "run_explain", "run_sample"),
        "raysample.cli.commands.score": ("run_retry", "run_score", "run_verify"),
    },
)
