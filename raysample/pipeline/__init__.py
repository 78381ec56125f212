"""The steps of a run in its workspace: what is done already, what is missing, and what the tracker is told of it."""

from raysample.pipeline.run import Pipeline
from raysample.pipeline.workspace import Workspace

__all__ = ["Pipeline", "Workspace"]
