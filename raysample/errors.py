"""The exceptions and warnings that users catch: `from raysample.errors import RaysampleError`."""

from raysample.core.errors import (
    CheckpointError,
    ClusterError,
    ConfigError,
    CorpusError,
    ForwardError,
    MissingExtraError,
    ModelError,
    ProvenanceError,
    RaysampleError,
    ResultWarning,
    ScoreError,
    SelectionError,
    StorageError,
    TrainingError,
    UnsupportedModelError,
)

__all__ = [
    "CheckpointError",
    "ClusterError",
    "ConfigError",
    "CorpusError",
    "ForwardError",
    "MissingExtraError",
    "ModelError",
    "ProvenanceError",
    "RaysampleError",
    "ResultWarning",
    "ScoreError",
    "SelectionError",
    "StorageError",
    "TrainingError",
    "UnsupportedModelError",
]
