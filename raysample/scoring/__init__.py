"""Scoring: what is prepared once, and shards that are read, visited and written; alike in this process and on Ray."""

from raysample.scoring.job import ScoreJob, ShardOutcome, finished, fitted, part_name
from raysample.scoring.preparing import needs_preparing, prepare
from raysample.scoring.shards import ShardScorer
from raysample.scoring.summaries import ensure_statistics, write_statistics

__all__ = [
    "ScoreJob",
    "ShardOutcome",
    "ShardScorer",
    "ensure_statistics",
    "finished",
    "fitted",
    "needs_preparing",
    "part_name",
    "prepare",
    "write_statistics",
]
