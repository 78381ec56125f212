"""The exact, mergeable selection: which rows an arm keeps, and the Selection that says so on storage."""

from raysample.selection.engine import SelectionPlan, choose_rows, plan_with, select
from raysample.selection.explanation import explain_row
from raysample.selection.pruned_corpus import Applied, apply
from raysample.selection.result import Selection
from raysample.selection.sampling import write_selection
from raysample.selection.stages import Threshold
from raysample.selection.step_quotas import budget_of

__all__ = [
    "Applied",
    "Selection",
    "SelectionPlan",
    "Threshold",
    "apply",
    "budget_of",
    "choose_rows",
    "explain_row",
    "plan_with",
    "select",
    "write_selection",
]
