"""Online capture: the logits that the training itself computed, one row per presentation, and scores folded over them.

A presentation is looked at as a checkpoint of one row: in training mode, with dropout, before the step that it is part
of. Scores that need nothing but logits are the same folds on captures as on checkpoints.
"""

from raysample.capture.files import Capture, checkpoints, passes, presentations, seal
from raysample.capture.folding import check, columns, score_capture
from raysample.capture.reading import Reader
from raysample.capture.recording import Recorder

__all__ = [
    "Capture",
    "Reader",
    "Recorder",
    "check",
    "checkpoints",
    "columns",
    "passes",
    "presentations",
    "score_capture",
    "seal",
]
