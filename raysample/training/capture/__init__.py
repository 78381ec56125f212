"""Online capture: the logits that training itself computed, one per row and epoch.

A captured forward acts as a checkpoint for one row: in training mode, with dropout, before the step that it belongs to.
"""

from raysample.training.capture.files import Capture, checkpoints, passes, presentations, seal_capture
from raysample.training.capture.record import Recorder

__all__ = ["Capture", "Recorder", "checkpoints", "passes", "presentations", "seal_capture"]
