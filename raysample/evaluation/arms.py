"""The arms that a comparison always has, by name, and what tells one retraining from another."""

from __future__ import annotations

FULL = "full"
RANDOM = "random"
STRATIFIED = "stratified_random"
BASELINES = (RANDOM, STRATIFIED)
"""What an arm has to be better than; each at the fraction of the arm."""

Cell = tuple[str, float, int]
"""Arm, fraction and seed of one retraining; the full data set is arm `full` with fraction 1."""
