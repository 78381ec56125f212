"""Tracker: records runs of the workflow. The MLflow tracker is in `raysample.tracking.mlflow`.

Only the driver calls a tracker. Tracking never fails or stalls the work: an implementation that cannot reach its server
warns once and continues.
"""

from raysample.core.errors import ConfigError
from raysample.core.registry import Registry
from raysample.tracking.base import Tracker, Value
from raysample.tracking.memory import MemoryTracker
from raysample.tracking.null import NullTracker

MLFLOW = "mlflow"
TRACKER_REGISTRY: Registry[Tracker] = Registry("tracker", Tracker, {}, ConfigError, also=(MLFLOW,))
"""Leads from `tracking.tracker` to the class of a plug-in; the workflow makes the MLflow tracker itself.

A plug-in is made as `Class(uri=..., experiment=..., folder=...)`: `tracking.uri` as it is given, the experiment's name,
and the URI of the run's folder.
"""

__all__ = ["MLFLOW", "TRACKER_REGISTRY", "MemoryTracker", "NullTracker", "Tracker", "Value"]
