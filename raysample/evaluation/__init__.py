"""How good a fine-tuned classifier is on a test corpus, and how sure that is.

Accuracy, macro-F1, log-loss, calibration, recall per class and per group, rare classes and rare contents, each with an
interval from a bootstrap over the test rows.
"""

from raysample.evaluation.evaluating import TAILS, calibration_error, evaluate
from raysample.evaluation.rarity import rare_classes, rare_contents
from raysample.evaluation.result import Bounds, Evaluation, GroupRecall, tracked

__all__ = [
    "TAILS",
    "Bounds",
    "Evaluation",
    "GroupRecall",
    "calibration_error",
    "evaluate",
    "rare_classes",
    "rare_contents",
    "tracked",
]
