"""What each word of the command line does: open tracker and engine, run steps, print where the result is."""

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
