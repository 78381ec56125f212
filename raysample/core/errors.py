"""The exceptions of raysample, all under one root, all picklable (they cross Ray's process borders).

::

    RaysampleError
    ├── ConfigError           the configuration asks for something that cannot be
    │   └── MissingExtraError       it asks for a library that is not installed; the advice names the extra
    ├── StorageError          a URI cannot be reached, or holds something else than expected
    ├── CorpusError           the labelled texts cannot be used as they are
    ├── ModelError            a model folder or hub name cannot be used
    │   └── UnsupportedModelError   a module has no exact gradient rule: an error, never a wrong number
    │       └── ForwardError        a model's forward or backward raised something of its own
    ├── CheckpointError       a run's trace is missing, damaged, or too short for a score
    ├── TrainingError         a training run failed by itself (for example its loss is no longer finite)
    ├── ScoreError            a score cannot be computed, or a table of scores cannot be used
    ├── SelectionError        a budget or policy cannot be met on these rows
    ├── ProvenanceError       things made from different inputs were about to be joined
    └── ClusterError          Ray cannot give what the work needs

Each message says what was expected, what came, and what to do. The command line prints it without a traceback
and leaves with exit code 2.
"""

from __future__ import annotations

from raysample.core.redaction import redact


class RaysampleError(Exception):
    """Root of all errors that raysample raises on purpose.

    Args:
        problem: what was expected and what came instead.
        advice: what the user can do about it.

    Both are kept without the credentials of addresses in them.
    """

    def __init__(self, problem: str, advice: str = "") -> None:
        problem, advice = redact(problem), redact(advice)
        super().__init__(problem, advice)
        self.problem = problem
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.problem}\n  -> {self.advice}" if self.advice else self.problem


class ConfigError(RaysampleError):
    """The configuration asks for something that cannot be."""


class MissingExtraError(ConfigError):
    """The configuration asks for an optional library that is not installed; the advice names the extra."""


class StorageError(RaysampleError):
    """A URI cannot be reached, or holds something else than expected."""


class CorpusError(RaysampleError):
    """The labelled texts cannot be used as they are."""


class ModelError(RaysampleError):
    """A model folder or hub name cannot be used."""


class UnsupportedModelError(ModelError):
    """A module of the model has no exact gradient rule."""


class ForwardError(UnsupportedModelError):
    """A model's forward or backward raised something of its own; `kind` is its type."""

    kind: str = "Exception"


class CheckpointError(RaysampleError):
    """A run's trace is missing, damaged, or too short for a score."""


class TrainingError(RaysampleError):
    """A training run failed by itself."""


class ScoreError(RaysampleError):
    """A score cannot be computed, or a table of scores cannot be used."""


class SelectionError(RaysampleError):
    """A budget or policy cannot be met on these rows."""


class ProvenanceError(RaysampleError):
    """Things made from different inputs were about to be joined."""


class ClusterError(RaysampleError):
    """Ray cannot give what the work needs."""


class PluginError(RaysampleError):
    """A plug-in class is not the same on a worker, or is not there."""


class ResultWarning(UserWarning):
    """A result is right as asked for, and yet not to be relied on: it says why."""
