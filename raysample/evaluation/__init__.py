"""Evaluation: how good a fine-tuned classifier is on a test corpus, with intervals, and which arm is better.

Accuracy, macro-F1, log-loss, calibration, recall per class and per group, rare classes and rare contents, each with an
interval from a bootstrap over the test rows. Arms are compared by the predictions of their runs, row by row and over
seeds.
"""

from raysample.evaluation.arms import BASELINES, FULL, RANDOM, STRATIFIED, ArmCell
from raysample.evaluation.differences import Difference, difference, holm
from raysample.evaluation.findings import sentences
from raysample.evaluation.metrics import calibration_error, evaluate
from raysample.evaluation.objectives import NAMES, OBJECTIVES, Estimates, Objective, estimates
from raysample.evaluation.predictions import Predictions
from raysample.evaluation.rarity import TAILS, rare_classes, rare_contents
from raysample.evaluation.result import Bounds, Evaluation, GroupRecall, tracked
from raysample.evaluation.sanity import doubts, model_doubts
from raysample.evaluation.verdicts import TOLERANCE, Verdict, judge_arms

__all__ = [
    "BASELINES",
    "FULL",
    "NAMES",
    "OBJECTIVES",
    "RANDOM",
    "STRATIFIED",
    "TAILS",
    "TOLERANCE",
    "ArmCell",
    "Bounds",
    "Difference",
    "Estimates",
    "Evaluation",
    "GroupRecall",
    "Objective",
    "Predictions",
    "Verdict",
    "calibration_error",
    "difference",
    "doubts",
    "estimates",
    "evaluate",
    "holm",
    "judge_arms",
    "model_doubts",
    "rare_classes",
    "rare_contents",
    "sentences",
    "tracked",
]
