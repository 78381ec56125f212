"""The scores: one number per example, folded over the checkpoints of a run.

SCORES maps each built-in name to its class, `create_score` builds one from what a configuration says. What a score of
one's own needs is here, too: `Score` and the bases `MeanScore` and `RateScore`, `Artifacts` and `Need` (what a visit
gives), and the windows of checkpoints.
"""

from raysample.influence.scores.base import MeanScore, RateScore, Score, from_logits
from raysample.influence.scores.catalogue import SCORE_REGISTRY, SCORES
from raysample.influence.scores.creation import (
    ScoreDescription,
    create_score,
    create_scores,
    define_score,
    describe_column,
    describe_few_runs,
    resolve_specs,
    score_plugins,
)
from raysample.influence.scores.reference import Reference
from raysample.influence.scores.window import ALL, EARLY, LAST, CheckpointWindow
from raysample.influence.visits.artifacts import Artifacts, Need

__all__ = [
    "ALL",
    "EARLY",
    "LAST",
    "SCORES",
    "SCORE_REGISTRY",
    "Artifacts",
    "CheckpointWindow",
    "MeanScore",
    "Need",
    "RateScore",
    "Reference",
    "Score",
    "ScoreDescription",
    "create_score",
    "create_scores",
    "define_score",
    "describe_column",
    "describe_few_runs",
    "from_logits",
    "resolve_specs",
    "score_plugins",
]
