"""Scores folded over captured logits (`raysample.training.capture`).

Scores that need only logits are the same folds on captures as on checkpoints.
"""

from raysample.influence.capture.fold import check, columns, score_capture
from raysample.influence.capture.read import Reader

__all__ = ["Reader", "check", "columns", "score_capture"]
