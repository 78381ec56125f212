"""The workflow: the steps of a run in its folder, which work is finished or missing, and what is tracked."""

from raysample.workflow.context import RunContext
from raysample.workflow.layout import RunFolder
from raysample.workflow.run import Pipeline
from raysample.workflow.score_request import ScoreRequest

__all__ = ["Pipeline", "RunContext", "RunFolder", "ScoreRequest"]
