"""Scoring: what is prepared once, and shards that are read, visited and written; alike in this process and on Ray."""

from raysample.influence.shards.job import ScoreJob, ShardOutcome, finished
from raysample.influence.shards.part_statistics import ensure_statistics, write_statistics
from raysample.influence.shards.preparation import needs_preparing, prepare_scoring
from raysample.influence.shards.scorer import ShardScorer

__all__ = [
    "ScoreJob",
    "ShardOutcome",
    "ShardScorer",
    "ensure_statistics",
    "finished",
    "needs_preparing",
    "prepare_scoring",
    "write_statistics",
]
