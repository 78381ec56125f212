"""Online capture: the logits that training itself computed, one row per presentation.

A presentation is looked at as a checkpoint of one row: in training mode, with dropout, before the step that it is part
of.
"""

from raysample.training.capture.files import Capture, checkpoints, passes, presentations, seal_capture
from raysample.training.capture.record import Recorder

__all__ = ["Capture", "Recorder", "checkpoints", "passes", "presentations", "seal_capture"]
