"""The steps of a run in its workspace: what is done already, what is missing, and what the tracker is told of it."""

from raysample.workflow.context import RunContext
from raysample.workflow.layout import Workspace
from raysample.workflow.run import Pipeline
from raysample.workflow.score_request import ScoreRequest

__all__ = ["Pipeline", "RunContext", "ScoreRequest", "Workspace"]
