"""The steps of a run in its workspace: what is done already, what is missing, and what the tracker is told of it."""

from raysample.workflow.layout import Workspace
from raysample.workflow.run import Pipeline

__all__ = ["Pipeline", "Workspace"]
