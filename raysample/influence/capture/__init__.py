"""Scores folded over captured logits (`raysample.training.capture`).

Scores that need only logits are the same folds on captures as on checkpoints.
"""

from raysample.influence.capture.fold import check_captured_scores, fold_columns, score_capture
from raysample.influence.capture.read import CaptureReader

__all__ = ["CaptureReader", "check_captured_scores", "fold_columns", "score_capture"]
