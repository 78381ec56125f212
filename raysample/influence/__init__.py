"""Influence scores: visits of checkpoints, the scores folded over visits, and the scoring of shards."""
