"""The exact, mergeable selection: which rows an arm keeps, and the Selection that says so on storage."""

from raysample.selection.engine import Plan, budget_of, choose, plan_with, select
from raysample.selection.explanation import explain
from raysample.selection.pruned_corpus import Applied, apply
from raysample.selection.result import Selection
from raysample.selection.sampling import sample
from raysample.selection.stages import Threshold

__all__ = [
    "Applied",
    "Plan",
    "Selection",
    "Threshold",
    "apply",
    "budget_of",
    "choose",
    "explain",
    "plan_with",
    "sample",
    "select",
]
