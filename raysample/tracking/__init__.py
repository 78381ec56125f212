"""Tracker: records runs of the workflow. The MLflow tracker is in `raysample.tracking.mlflow`.

Only the driver calls a tracker. Tracking never fails or stalls the work: an implementation that cannot reach its server
warns once and continues.
"""

from raysample.tracking.base import Tracker, Value
from raysample.tracking.memory import MemoryTracker
from raysample.tracking.null import NullTracker

__all__ = ["MemoryTracker", "NullTracker", "Tracker", "Value"]
