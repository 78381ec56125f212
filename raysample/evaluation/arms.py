"""Names of the arms that every comparison has, and the key of one retraining."""

from __future__ import annotations

FULL = "full"
RANDOM = "random"
STRATIFIED = "stratified_random"
BASELINES = (RANDOM, STRATIFIED)
"""Baselines of every arm, each at the arm's fraction."""

ArmCell = tuple[str, float, int]
"""Arm, fraction and seed of one retraining; the full data set is arm `full` with fraction 1."""
